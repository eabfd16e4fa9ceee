"""Pictures' files without their metadata, for those whose metadata Pillow stumbles over: it must not decide over pixels.

What decides over colours stays: JFIF's and Adobe's marks in a JPEG, PNG's transparency, TIFF's own tags.
"""

import re
import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
DQT = b"\xff\xdb"
# What a TIFF's pixels follow from: sizes, layout, compression, colours; orientation.
TIFF_TAGS = {
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 321, 322, 323, 324, 325),
    *(332, 333, 334, 336, 338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532),
}


def versions(data: bytes) -> Iterator[bytes]:
    """A picture's file, then with less and less metadata, as far as it has any: first without what says nothing of pixels,
    then without the EXIF as well, which has the orientation."""
    yield data
    without = next((reader for head, reader in READERS.items() if re.match(head, data, re.DOTALL)), None)
    last = data
    for exif in (True, False) if without else ():
        if (less := without(data, exif)) != last:
            yield less
        last = less


def _jpeg(data: bytes, exif: bool) -> bytes:
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xDA:  # from here on there are pixels
            return b"".join([*kept, data[at:]])
        if marker == 0xFF or marker in JPEG_WITHOUT_LENGTH:
            length = 1 if marker == 0xFF else 2
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[at : at + length])
        elif data[at + length : at + length + 1] != b"\xff":  # its length is wrong
            at = _tables(data, at + 4)
            continue
        elif _counts(data[at + 4 : at + length], exif):
            kept.append(data[at : at + length])
        at += length
    return data


def _counts(segment: bytes, exif: bool) -> bool:
    """Whether a JPEG's application segment decides over colours or, with `exif`, orientation."""
    return bool(re.match(rb"JFIF\0.{9}|Adobe.{7}" + rb"|Exif\0\0" * exif, segment, re.DOTALL))


def jpeg_kind(data: bytes) -> str | None:
    """What is odd about a JPEG that Pillow finds no picture in, as far as its frame tells; None for one of the usual kind."""
    frame = re.search(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]\0[\x0b-\x17](.)", data[: 2**20], re.DOTALL)
    if not data.startswith(b"\xff\xd8\xff") or not frame or frame[1] == b"\x08":
        return None
    return f"a JPEG of {frame[1][0]} bits a channel: save it with 8"


def _tables(data: bytes, start: int) -> int:
    """Where in a JPEG the quantisation tables of its largest picture begin, behind `start`; its end where there are none.

    A smaller one would be the thumbnail within the metadata.
    """
    best, place = 0, len(data)
    for table in re.finditer(re.escape(DQT), data[start : start + 2**20]):
        at, area = start + table.start(), 0
        while at + 9 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
            if data[at + 1] in (0xC0, 0xC1, 0xC2):
                height, width = struct.unpack_from(">HH", data, at + 5)
                area = height * width
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
        if data[at : at + 2] == b"\xff\xda" and area > best:
            best, place = area, start + table.start()
    return place


def _png(data: bytes, exif: bool) -> bytes:
    kept, at = [PNG], len(PNG)
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 12 + length
        behind = data[end + 4 : end + 8]
        fits = end <= len(data) and (not behind or re.fullmatch(rb"[A-Za-z]{4}", behind))
        if not fits and not name[:1].isupper():  # its length is wrong
            pixels = data.find(b"IDAT", at + 8)
            at = pixels - 4 if pixels > 0 else len(data)
            continue
        if name[:1].isupper() or name == b"tRNS":
            kept.append(data[at:end])
        elif name == b"eXIf" and exif:
            body = data[at + 8 : at + 8 + length]
            kept.append(data[at : at + 8] + body + zlib.crc32(name + body).to_bytes(4))
        at = end
    return b"".join(kept)


def _webp(data: bytes, exif: bool) -> bytes:
    kept, at = [], 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if name == b"VP8X":  # of its flags transparency and animation
            body = bytes([body[0] & 0b10010]) + body[1:] if body else body
        if name in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            kept.append(data[at : at + 8] + body + b"\0" * (length % 2))
        at += 8 + length + length % 2
    content = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _tiff(data: bytes, exif: bool) -> bytes:
    """A TIFF file whose first list of tags has those in `TIFF_TAGS` alone, and no other list behind it."""
    order = "<" if data.startswith(b"II") else ">"
    try:
        start = struct.unpack_from(f"{order}I", data, 4)[0]
        number = struct.unpack_from(f"{order}H", data, start)[0]
    except struct.error:
        return data
    entries = [data[at : at + 12] for at in range(start + 2, start + 2 + 12 * number, 12)]
    wanted = TIFF_TAGS if exif else TIFF_TAGS - {274}
    entries = [entry for entry in entries if len(entry) == 12 and struct.unpack_from(f"{order}H", entry)[0] in wanted]
    tags = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:start] + tags + data[start + len(tags) :]


def _heif(data: bytes, exif: bool) -> bytes:
    return re.sub(rb"(infe\x02[\0-\xff]{7})(?:Exif|mime)", rb"\1free", data[: 2**20]) + data[2**20 :]


READERS = {rb"\xff\xd8\xff": _jpeg, PNG: _png, rb"RIFF.{4}WEBP": _webp, rb"II\*\0|MM\0\*": _tiff, rb".{4}ftyp": _heif}
