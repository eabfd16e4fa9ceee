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


def _value(tags: dict[int, tuple[int, ...]], tag: int, default: int = 1) -> int:
    """The largest value of a tag."""
    return max(tags.get(tag) or (default,))


def refused(data: bytes) -> str | None:
    """Why a TIFF file is not read although Pillow would find a picture in it; None where there is no such reason."""
    if camera := kinds.raw_tiff(data):
        return kinds.raw(camera)
    pages = list(kinds.directories(data))
    types = [_value(page, SUBFILE_TYPE, 0) for page in pages]
    whole = sum(not kind & (THUMBNAIL | MASK) for kind in types)
    if whole > 1:
        return f"a TIFF of {whole} pages: save each page as a picture of its own"
    if whole and types[0] & THUMBNAIL:
        return "a TIFF whose first page is a thumbnail: save the picture anew, as JPEG, TIFF or PNG"
    if pages and pages[0].get(PLANES) == (2,) and _value(pages[0], SAMPLES) > 1 and (bits := _value(pages[0], BITS)) > 8:
        return f"a TIFF of {bits} bits a channel, each channel by itself: save it interleaved, or with 8 bits"
    return None


def unsupported(data: bytes) -> str | None:
    """What a TIFF file is compressed by, where libtiff most often can't undo it; None for other ways."""
    compression = _value(next(kinds.directories(data), {}), COMPRESSION)
    return _compressed(compression) if compression in NAMES else None


def _compressed(compression: int) -> str:
    return f"a TIFF compressed by {NAMES.get(compression, f'method {compression}')}: save it with LZW or none"


def unread(data: bytes) -> str | None:
    """Why Pillow finds no picture in a TIFF file, as far as its tags tell; None for one without tags."""
    if not (tags := next(kinds.directories(data), {})):
        return None
    bits, bands, kind, compression = (_value(tags, tag) for tag in (BITS, SAMPLES, SAMPLE_FORMAT, COMPRESSION))
    if compression not in COMPRESSION_INFO:
        return _compressed(compression)
    if kind >= COMPLEX:
        return "a TIFF of complex numbers: save it with 8 bits a sample"
    if bits > 32 or (kind == FLOAT and bits != 32):
        words, better = (", floats", "32") if kind == FLOAT else ("", "8 or 16")
        return f"a TIFF of {bits} bits a sample{words}: save it with {better}"
    if bands > 4 or bands == 2:
        return f"a TIFF of {bands} bands: save it as greyscale, or three bands as red, green and blue"
    values = f"{bands} x {bits} bits, sample format {kind}, photometric {_value(tags, PHOTOMETRIC, 0)}"
    return f"a TIFF of a kind that can't be read ({values}): save it with 8 bits a sample"
