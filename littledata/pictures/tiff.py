"""What there is in TIFF files that is no picture for this project, by name: RAW, several pages, many bands, odd numbers."""

from PIL.TiffImagePlugin import COMPRESSION_INFO

from littledata.pictures import kinds

SUBFILE_TYPE, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES, SAMPLE_FORMAT = 254, 258, 259, 262, 277, 284, 339
THUMBNAIL, MASK = 1, 4  # bits of the subfile's type
FLOAT, COMPLEX = 3, 5
NAMES = {
    32809: "Thunderscan", 33003: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG", 34676: "LogLuv", 34677: "LogLuv",
    34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip


def is_tiff(data: bytes) -> bool:
    return data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def refused(data: bytes) -> str | None:
    """Why a TIFF file is not read although Pillow would find a picture in it; None where there is no such reason."""
    if camera := kinds.raw_tiff(data):
        return kinds.raw(camera)
    pages = list(kinds.directories(data))
    types = [max(page.get(SUBFILE_TYPE) or (0,)) for page in pages]
    whole = [page for page, kind in zip(pages, types) if not kind & (THUMBNAIL | MASK)]
    if len(whole) > 1:
        return f"a TIFF of {len(whole)} pages: save each page as a picture of its own"
    if whole and types[0] & THUMBNAIL:
        return "a TIFF whose first page is a thumbnail: save the picture anew, as JPEG, TIFF or PNG"
    first = pages[0] if pages else {}
    if first.get(PLANES) == (2,) and max(first.get(BITS) or (1,)) > 8 and max(first.get(SAMPLES) or (1,)) > 1:
        return f"a TIFF of {max(first[BITS])} bits a channel, each channel by itself: save it interleaved, or with 8 bits"
    return None


def unsupported(data: bytes) -> str | None:
    """What a TIFF file is compressed by, where libtiff most often can't undo it; None for other ways."""
    compression = max(next(kinds.directories(data), {}).get(COMPRESSION) or (1,))
    return _compressed(compression) if compression in NAMES else None


def _compressed(compression: int) -> str:
    return f"a TIFF compressed by {NAMES.get(compression, f'method {compression}')}: save it with LZW or none"


def unread(data: bytes) -> str | None:
    """Why Pillow finds no picture in a TIFF file, as far as its tags tell; None for one without tags."""
    tags = next(kinds.directories(data), {})
    if not tags:
        return None
    bits, bands = max(tags.get(BITS) or (1,)), max(tags.get(SAMPLES) or (1,))
    kind, compression = max(tags.get(SAMPLE_FORMAT) or (1,)), max(tags.get(COMPRESSION) or (1,))
    if compression not in COMPRESSION_INFO:
        return _compressed(compression)
    if kind >= COMPLEX:
        return "a TIFF of complex numbers: save it with 8 bits a sample"
    if bits > 32 or (kind == FLOAT and bits != 32):
        words, better = (", floats", "32") if kind == FLOAT else ("", "8 or 16")
        return f"a TIFF of {bits} bits a sample{words}: save it with {better}"
    if bands > 4 or bands == 2:
        return f"a TIFF of {bands} bands: save it as greyscale, or three bands as red, green and blue"
    photometric = max(tags.get(PHOTOMETRIC) or (0,))
    return (
        f"a TIFF of a kind that can't be read ({bands} x {bits} bits, sample format {kind}, photometric {photometric}): "
        "save it with 8 bits a sample"
    )
