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
TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")
CAMERAS = {
    "Adobe": "dng", "Canon": "cr2 cr3 crw", "Epson": "erf", "Fuji": "raf", "GoPro": "gpr", "Hasselblad": "3fr fff",
    "Kodak": "dcr k25 kdc", "Leaf": "mos", "Leica": "rwl", "Mamiya": "mef", "Minolta": "mrw", "Nikon": "nef nrw",
    "Olympus": "orf ori", "Panasonic": "rw2", "Pentax": "pef", "Phase One": "iiq", "Samsung": "srw", "Sigma": "x3f",
    "Sony": "arw sr2 srf",
}  # fmt: skip
RAW_ENDINGS = {f".{ending}": f"{maker} {ending.upper()}" for maker, endings in CAMERAS.items() for ending in endings.split()}
RAW_ENDINGS[".raw"] = "RAW"
OTHERS = {
    "a DDS texture": "dds", "a DICOM picture": "dcm", "a DjVu file": "djvu", "a FITS picture": "fits", "a GIMP file": "xcf",
    "a JPEG 2000 picture": "j2c j2k jp2 jpc jpf jpm jpx", "a JPEG XL picture": "jxl", "a JPEG XR picture": "jxr hdp wdp",
    "a Krita file": "kra", "a Netpbm picture": "pam pbm pgm pnm ppm", "a PCX picture": "pcx", "a Photoshop file": "psb psd",
    "a QOI picture": "qoi", "a TGA picture": "tga", "a Windows metafile": "emf wmf", "an EPS file": "eps",
    "an Illustrator file": "ai", "an OpenEXR picture": "exr", "an OpenRaster file": "ora", "an SVG drawing": "svg svgz",
    "an XBM picture": "xbm", "an XPM picture": "xpm", "an icon": "cur icns ico",
}  # fmt: skip
OTHER_ENDINGS = {f".{ending}": what for what, endings in OTHERS.items() for ending in endings.split()}
RAW_HEADS = {
    rb".{4}ftypcrx ": "Canon CR3", rb"FUJIFILMCCD-RAW": "Fuji RAF", rb"FOVb": "Sigma X3F", rb"II(RO|RS)|MMOR": "Olympus ORF",
    rb"IIU\0": "Panasonic RW2", rb"\0MRM": "Minolta MRW", rb"II\x1a\0{3}HEAPCCDR": "Canon CRW",
}  # fmt: skip
# A BMP's letters alone would make pictures of texts: its header's size as well. Of what HEIF calls brands, those of pictures.
READABLE = rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM.{12}[\x0c\x10(48@l|]\0{3}|RIFF.{4}WEBP|.{4}ftyp(he[iv][cmsx]|mif[12]|msf1|avi[fs])"
OTHER_HEADS = {
    rb"8BPS": "a Photoshop file", rb"gimp xcf": "a GIMP file", rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a": "a JPEG XL picture",
    rb"\0\0\0\x0cjP  \r\n\x87\n|\xffO\xffQ": "a JPEG 2000 picture", rb"II\xbc\x01": "a JPEG XR picture",
    rb"DDS ": "a DDS texture", rb"v/1\x01": "an OpenEXR picture", rb"#\?(RADIANCE|RGBE)": "a Radiance HDR picture",
    rb"SIMPLE  =": "a FITS picture", rb"icns|\0\0[\1\2]\0[^\0]\0.{3}\0": "an icon", rb"qoif": "a QOI picture",
    rb"AT&TFORM": "a DjVu file", rb"/\* XPM \*/": "an XPM picture", rb"BPG\xfb": "a BPG picture", rb"FLIF": "a FLIF picture",
    rb"\x8aMNG\r\n\x1a\n": "an MNG film", rb"\xc5\xd0\xd3\xc6|%!PS-Adobe-[\d.]+ EPSF": "an EPS file",
    rb"\xd7\xcd\xc6\x9a": "a Windows metafile", rb".{128}DICM": "a DICOM picture", rb"P[1-7]\s+(#|\d|WIDTH)": "a Netpbm picture",
    rb"(\xef\xbb\xbf)?\s*(?=<svg|<\?xml|<!--|<!DOCTYPE svg).*?<(\w+:)?svg[\s>]": "an SVG drawing",
}  # fmt: skip
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
    if TIFF.match(head):
        camera = RAW_ENDINGS.get(ending) or raw_tiff(head)
        return raw(camera) if camera else ""
    for pattern, reason in HEADS:
        if pattern.match(head):
            return reason
    if ending in RAW_ENDINGS and head[4:8] != b"ftyp":
        return raw(RAW_ENDINGS[ending])
    return "" if ending in ENDINGS else exported(OTHER_ENDINGS[ending]) if ending in OTHER_ENDINGS else None


def raw(camera: str) -> str:
    """The reason why a RAW photo isn't read, for its kind, such as "Nikon NEF"."""
    return f"a RAW photo{'' if camera == 'RAW' else f' ({camera})'}: export it as JPEG, TIFF or PNG"


def exported(what: str) -> str:
    """The reason why a picture of another kind isn't read."""
    return f"{what}: export it as JPEG or PNG"


HEADS = [
    *((re.compile(pattern, re.DOTALL), raw(camera)) for pattern, camera in RAW_HEADS.items()),
    (re.compile(READABLE, re.DOTALL), ""),
    *((re.compile(pattern, re.DOTALL), exported(what)) for pattern, what in OTHER_HEADS.items()),
]


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
