"""Names of files as people read them: from whatever bytes a disk or a zip has, with what is nobody's photo told apart."""

import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping

UTF8_FLAG, UNICODE_PATH, DOS = 0x800, 0x7075, 0  # of a zip's entry: a flag, an extra field, the system that made it

# What NAS boxes, desktops and disks keep for themselves beside people's photos, in any case; and all that begins with a dot.
_SYSTEM = re.compile(
    r"""\..* | @eadir | @recycle | @recently-snapshot | @sharebin | @sharesnap | @tmp | @__thumb | [#~]snapshots? | \#recycle
    | \$recycle\.bin | \$extend | recycler | recycled | lost\+found | lost\.dir | found\.\d{3} | system\ volume\ information
    | __macosx | network\ trash\ folder | temporary\ items | thevolumesettingsfolder | ipod\ photo\ cache | _vti_cnf
    | __pycache__ | node_modules""",
    re.VERBOSE | re.IGNORECASE,
)


def clean(name: str) -> str:
    """A name with composed accents, and with control characters written out, so that it fits into one line."""
    name = unicodedata.normalize("NFC", name)
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: found[0].encode("unicode_escape").decode(), name)


def of_file(raw: bytes) -> str:
    """The name of a file on a disk. UTF-8, else Windows' code page for the west, else Latin-1, which takes any byte."""
    for encoding in ("utf-8", "cp1252", "latin-1"):
        try:
            return clean(raw.decode(encoding))
        except UnicodeDecodeError:
            pass
    raise AssertionError("Latin-1 takes any byte")


def of_entry(entry: zipfile.ZipInfo, slashes: bool = True) -> str:
    """The name of a zip's entry, with `/`. `slashes`: whether any name of the archive has one; else `\\` separates folders."""
    raw = entry.orig_filename.encode("utf-8" if entry.flag_bits & UTF8_FLAG else "cp437")
    try:
        name = (_unicode_path(entry.extra, raw) or raw).decode("utf-8")
    except UnicodeDecodeError:
        name = raw.decode("cp437")
    if entry.create_system == DOS or not slashes:
        name = name.replace("\\", "/")
    return clean(name)


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """The name in UTF-8 that Info-ZIP puts beside one of another encoding."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and size > 5 and struct.unpack_from("<L", field, 1)[0] == zlib.crc32(raw):
            return field[5:]
    return None


def system(name: str) -> str | None:
    """Where a path is a file of the system's: in which folder, or that it is hidden; None for people's own."""
    *folders, file = name.split("/")
    for folder in folders:
        if _SYSTEM.fullmatch(folder):
            return f"in {folder}"
    return "hidden" if file.startswith(".") else None


def ending(name: str) -> str:
    """A file's ending in lower case, with its dot, where it is a plain short one; else nothing."""
    found = re.fullmatch(r"(?s).*[^/.](\.[a-z0-9]{1,8})", name.lower())
    return found[1] if found else ""


def other(name: str) -> str:
    """What a file that is no photo is counted as."""
    return ending(name) or "without an ending"


def natural(name: str) -> list:
    """A sort key that puts cat.2 before cat.10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def brief(reason: str) -> str:
    """The kind of a reason: what stands before its details."""
    return reason.partition(":")[0]


def counted(numbers: Mapping[str, int]) -> str:
    """Counts for people, the largest first: 9 .mov, 2 .xlsx."""
    return ", ".join(f"{count} {name}" for name, count in sorted(numbers.items(), key=lambda item: (-item[1], item[0])))


def some(names, most: int = 5) -> str:
    """Names for a line of text, the first few."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
