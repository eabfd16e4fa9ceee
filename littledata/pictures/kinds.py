"""What kind of file one is, by its first bytes and its name: a picture that can be read, one that can't, or none at all.

Contents decide. An ending decides only where contents say nothing, or where they say TIFF and the ending knows better: many
cameras' RAW photos are TIFF files whose first picture is a thumbnail.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import PurePosixPath

HEAD = 4096  # bytes; TIFF's list of tags, which tells RAW, most often lies within
ENDINGS = set(
    ".jpg .jpeg .jpe .jfif .jif .jfi .mpo .png .apng .webp .heic .heics .heif .heifs .hif .avif .avifs .gif .bmp .dib .tif .tiff"
    " .btf .tf8".split()
)
BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}  # bytes: two letters alone would make pictures of texts
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1", b"avif", b"avis"}
RAW_ENDINGS = {
    ".3fr": "Hasselblad 3FR", ".arw": "Sony ARW", ".cr2": "Canon CR2", ".cr3": "Canon CR3", ".crw": "Canon CRW",
    ".dcr": "Kodak DCR", ".dng": "Adobe DNG", ".erf": "Epson ERF", ".fff": "Hasselblad FFF", ".gpr": "GoPro GPR",
    ".iiq": "Phase One IIQ", ".k25": "Kodak K25", ".kdc": "Kodak KDC", ".mef": "Mamiya MEF", ".mos": "Leaf MOS",
    ".mrw": "Minolta MRW", ".nef": "Nikon NEF", ".nrw": "Nikon NRW", ".orf": "Olympus ORF", ".ori": "Olympus ORI",
    ".pef": "Pentax PEF", ".raf": "Fuji RAF", ".raw": "RAW", ".rw2": "Panasonic RW2", ".rwl": "Leica RWL", ".sr2": "Sony SR2",
    ".srf": "Sony SRF", ".srw": "Samsung SRW", ".x3f": "Sigma X3F",
}  # fmt: skip
RAW_MAGIC = [
    (b"FUJIFILMCCD-RAW", "Fuji RAF"), (b"FOVb", "Sigma X3F"), (b"IIRO", "Olympus ORF"), (b"IIRS", "Olympus ORF"),
    (b"MMOR", "Olympus ORF"), (b"IIU\0", "Panasonic RW2"), (b"\0MRM", "Minolta MRW"), (b"II\x1a\0\0\0HEAPCCDR", "Canon CRW"),
]  # fmt: skip
OTHER_ENDINGS = {
    ".ai": "an Illustrator file", ".cur": "an icon", ".dcm": "a DICOM picture", ".dds": "a DDS texture", ".djvu": "a DjVu file",
    ".emf": "a Windows metafile", ".eps": "an EPS file", ".exr": "an OpenEXR picture", ".fits": "a FITS picture",
    ".icns": "an icon", ".ico": "an icon",
    ".j2c": "a JPEG 2000 picture", ".j2k": "a JPEG 2000 picture", ".jp2": "a JPEG 2000 picture", ".jpc": "a JPEG 2000 picture",
    ".jpf": "a JPEG 2000 picture", ".jpm": "a JPEG 2000 picture", ".jpx": "a JPEG 2000 picture", ".jxl": "a JPEG XL picture",
    ".jxr": "a JPEG XR picture", ".hdp": "a JPEG XR picture", ".wdp": "a JPEG XR picture", ".kra": "a Krita file",
    ".ora": "an OpenRaster file", ".pam": "a Netpbm picture", ".pbm": "a Netpbm picture", ".pcx": "a PCX picture",
    ".pgm": "a Netpbm picture", ".pnm": "a Netpbm picture", ".ppm": "a Netpbm picture", ".psb": "a Photoshop file",
    ".psd": "a Photoshop file", ".qoi": "a QOI picture", ".svg": "an SVG drawing", ".svgz": "an SVG drawing",
    ".tga": "a TGA picture", ".wmf": "a Windows metafile", ".xbm": "an XBM picture", ".xcf": "a GIMP file",
    ".xpm": "an XPM picture",
}  # fmt: skip
OTHER_MAGIC = [
    (b"8BPS", "a Photoshop file"), (b"gimp xcf", "a GIMP file"), (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"), (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"), (b"II\xbc\x01", "a JPEG XR picture"), (b"DDS ", "a DDS texture"),
    (b"v/1\x01", "an OpenEXR picture"), (b"#?RADIANCE", "a Radiance HDR picture"), (b"#?RGBE", "a Radiance HDR picture"),
    (b"SIMPLE  =", "a FITS picture"),
    (b"icns", "an icon"), (b"qoif", "a QOI picture"), (b"AT&TFORM", "a DjVu file"), (b"/* XPM */", "an XPM picture"),
    (b"BPG\xfb", "a BPG picture"), (b"FLIF", "a FLIF picture"), (b"\x8aMNG\r\n\x1a\n", "an MNG film"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file"), (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
]  # fmt: skip
DNG_VERSION, MAKE, SUB_IFDS, SUBFILE_TYPE, PHOTOMETRIC = 50706, 271, 330, 254, 262
NUMBERS = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}  # of TIFF's types
VALUES = 64  # of a tag; the pictures here have as many bands at most
BEHIND = (struct.error, OverflowError)  # what is raised for a place behind the end; a BigTIFF's may lie behind any file's
SENSOR = {32803, 34892}  # photometric interpretations: a colour filter's mosaic, and its linear form


def of(name: str, head: bytes) -> str | None:
    """Say what kind of file one is.

    Parameters
    ----------
    name : str
        The file's name, or path with `/`, for its ending.
    head : bytes
        The first `HEAD` bytes of the file, or all there are.

    Returns
    -------
    str or None
        "" for a picture that `images.decode` reads, or that its ending calls one, so that `decode` says what is wrong with
        it; the reason, in words, for a picture of a kind that can't be read; None for what is no picture.
    """
    ending = PurePosixPath(name).suffix.lower()
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        camera = RAW_ENDINGS.get(ending) or raw_tiff(head)
        return raw(camera) if camera else ""
    if camera := raw_magic(head):
        return raw(camera)
    if readable(head):
        return ""
    if what := other(head):
        return f"{what}: export it as JPEG or PNG"
    if ending in ENDINGS:
        return ""
    if ending in RAW_ENDINGS and not head[4:8] == b"ftyp":
        return raw(RAW_ENDINGS[ending])
    return f"{OTHER_ENDINGS[ending]}: export it as JPEG or PNG" if ending in OTHER_ENDINGS else None


def raw(camera: str) -> str:
    """The reason why a RAW photo isn't read, for its kind, such as "Nikon NEF"."""
    return f"a RAW photo{'' if camera == 'RAW' else f' ({camera})'}: export it as JPEG, TIFF or PNG"


def readable(head: bytes) -> bool:
    """Whether a file begins as a picture that `images.decode` reads, other than TIFF."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")):
        return True
    if head.startswith(b"BM"):
        return len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in BMP_HEADERS
    return (head.startswith(b"RIFF") and head[8:12] == b"WEBP") or bool(HEIF_BRANDS & set(brands(head)[:1]))


def brands(head: bytes) -> list[bytes]:
    """What a file of ISO's base media format (HEIF, AVIF, CR3, but films too) says it is, above all first."""
    if head[4:8] != b"ftyp":
        return []
    end = max(16, min(struct.unpack_from(">I", head)[0], len(head)))
    return [head[8:12], *(head[start : start + 4] for start in range(16, end, 4))]


def raw_magic(head: bytes) -> str | None:
    """The kind of a RAW photo that is no TIFF file."""
    if brands(head)[:1] == [b"crx "]:
        return "Canon CR3"
    return next((camera for magic, camera in RAW_MAGIC if head.startswith(magic)), None)


def raw_tiff(data: bytes) -> str | None:
    """The kind of a RAW photo that is a TIFF file: whatever its ending, its first list of tags tells, where `data` has it."""
    if data[8:10] == b"CR":
        return "Canon CR2"
    tags = next(directories(data), {})
    if DNG_VERSION in tags:
        return "Adobe DNG"
    if SENSOR & set(tags.get(PHOTOMETRIC, ())):
        return "RAW"
    if tags.get(SUBFILE_TYPE) == (1,) and SUB_IFDS in tags and MAKE in tags:  # a thumbnail, and the photo elsewhere
        maker = bytes(tags[MAKE]).upper().split(b" ")[0].rstrip(b"\0")
        return {b"NIKON": "Nikon NEF", b"SONY": "Sony ARW"}.get(maker, "RAW")
    return None


def directories(data: bytes) -> Iterator[dict[int, tuple[int, ...]]]:
    """The tags of every picture in a TIFF file, the first `VALUES` values of each: whole numbers, or a text's bytes, else none.

    Ends where `data` ends, or goes round in circles.
    """
    order, big = "<" if data[:1] == b"I" else ">", 43 in data[2:4]
    start_format, count_format, entry_format, after = ("Q", "Q", "HHQ", 12) if big else ("I", "H", "HHI", 8)
    seen: set[int] = set()
    try:
        start = struct.unpack_from(order + start_format, data, 8 if big else 4)[0]
        while start and start not in seen:
            seen.add(start)
            number = struct.unpack_from(order + count_format, data, start)[0]
            at, tags = start + struct.calcsize(count_format), {}
            for _ in range(number):
                tag, kind, count = struct.unpack_from(order + entry_format, data, at)
                tags[tag] = _values(data, order, start_format, kind, count, at + after)
                at += after + struct.calcsize(start_format)
            yield tags
            start = struct.unpack_from(order + start_format, data, at)[0]
    except BEHIND:
        return


def _values(data: bytes, order: str, pointer: str, kind: int, count: int, at: int) -> tuple[int, ...]:
    """The values of a TIFF tag whose entry has them, or a pointer to them, at `at`."""
    letter = NUMBERS.get(kind)
    if not letter:
        return ()
    if count * struct.calcsize(letter) > struct.calcsize(pointer):
        at = struct.unpack_from(order + pointer, data, at)[0]
    try:
        return struct.unpack_from(f"{order}{min(count, VALUES)}{letter}", data, at)
    except BEHIND:
        return ()


def other(head: bytes) -> str | None:
    """What a picture of a kind that can't be read is, by its first bytes."""
    for magic, what in OTHER_MAGIC:
        if head.startswith(magic):
            return what
    if head[128:132] == b"DICM":
        return "a DICOM picture"
    if head[:4] in (b"\0\0\1\0", b"\0\0\2\0") and 0 < int.from_bytes(head[4:6], "little") < 256 and head[9:10] == b"\0":
        return "an icon"
    if re.match(rb"P[1-7]\s+(#|\d|WIDTH)", head):
        return "a Netpbm picture"
    if re.match(rb"%!PS-Adobe-[\d.]+ EPSF", head):
        return "an EPS file"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    marked_up = text.startswith((b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg"))
    return "an SVG drawing" if marked_up and re.search(rb"<(\w+:)?svg[\s>]", text) else None
