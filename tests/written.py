"""Pictures' files written byte by byte, as cameras, microscopes and scanners write them and no library here does."""

import struct
import zlib

import numpy as np

UPPER_LEFT, SIDEWAYS = 1, 6  # EXIF's orientations


def exif(orientation: int = SIDEWAYS, tag: int = 0, kind: int = 2, value: bytes = b"\xff\xfe\xfd\0") -> bytes:
    """EXIF, as TIFF has it, with an orientation and, where one is asked for, a tag of any kind and value."""
    entries = [struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0), *([struct.pack("<HHI", tag, kind, 4) + value] if tag else [])]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(sorted(entries)) + bytes(4)


def segment(marker: int, body: bytes, length: int | None = None) -> bytes:
    """A JPEG's segment; `length` is what it claims."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2 if length is None else length) + body


def with_segment(jpeg: bytes, *given) -> bytes:
    return jpeg[:2] + segment(*given) + jpeg[2:]


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG's chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunk(png: bytes, *given, last: bool = False) -> bytes:
    """A PNG with one more chunk, before its pixels or behind them."""
    at = len(png) - 12 if last else 33
    return png[:at] + chunk(*given) + png[at:]


def png16(array: np.ndarray, clear: tuple[int, ...] = ()) -> bytes:
    """A PNG of 16 bits a channel: uint16 of shape (height, width) or (height, width, 2 to 4), grey or colours, and alpha.

    `clear` is the value that is transparent.
    """
    height, width, *channels = array.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels[0] if channels else 1]
    rows = b"".join(b"\0" + row.tobytes() for row in array.astype(">u2").reshape(height, -1))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    transparent = chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear)) if clear else b""
    return b"\x89PNG\r\n\x1a\n" + head + transparent + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(array: np.ndarray, order: str = "<", deflate: bool = False, apart: bool = False, pages: int = 1, **tags) -> bytes:
    """A TIFF of any numbers: an array of shape (height, width) or (height, width, channels), `order` "<" or ">".

    `apart` writes every channel by itself. `tags` are values of tags by their names in `TAGS`, or numbers with a `t` before.
    """
    height, width, *channels = array.shape
    bands = channels[0] if channels else 1
    planes = array.transpose(2, 0, 1) if apart else array
    pixels = planes.astype(array.dtype.newbyteorder(order)).tobytes()
    pixels = zlib.compress(pixels) if deflate else pixels
    kinds = {"u": 1, "i": 2, "f": 3, "c": 6}
    each, parts = len(pixels) // bands, range(bands if apart else 1)
    found = {
        "width": width, "height": height, "bits": [8 * array.dtype.itemsize] * bands, "compression": 8 if deflate else 1,
        "photometric": 1 if bands == 1 else 2, "offsets": [8 + each * part for part in parts], "samples": bands, "rows": height,
        "counts": [each if apart else len(pixels)] * len(parts), "planes": 2 if apart else 1,
        "format": [kinds[array.dtype.kind]] * bands,
    } | tags  # fmt: skip
    file, link = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 0) + pixels), 4
    for _ in range(pages):
        entries = []
        for tag, value in sorted((TAGS.get(name) or int(name[1:]), value) for name, value in found.items()):
            values = value if isinstance(value, list) else [value]
            kind, letter = (7, "B") if isinstance(value, bytes) else (4, "I") if max(values) > 65535 or tag in LONG else (3, "H")
            body = value if isinstance(value, bytes) else struct.pack(f"{order}{len(values)}{letter}", *values)
            if len(body) > 4:
                file += bytes(len(file) % 2)
                start = len(file)
                file += body
                body = struct.pack(f"{order}I", start)
            count = len(value) if isinstance(value, bytes) else len(values)
            entries.append(struct.pack(f"{order}HHI", tag, kind, count) + body.ljust(4, b"\0"))
        file += bytes(len(file) % 2)
        struct.pack_into(f"{order}I", file, link, len(file))
        file += struct.pack(f"{order}H", len(entries)) + b"".join(entries)
        link = len(file)
        file += bytes(4)
    return bytes(file)


TAGS = {
    "subfile": 254, "width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "make": 271,
    "offsets": 273, "orientation": 274, "samples": 277, "rows": 278, "counts": 279, "planes": 284, "subifds": 330,
    "extra": 338, "format": 339, "xmp": 700, "dng": 50706,
}  # fmt: skip
LONG = {256, 257, 273, 278, 279, 330}
