"""Files: what lies in a folder, digests, and zips whose bytes repeat."""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

PART = re.compile(r"\.[0-9a-f]{16}\.part$")


def of(folder: str | os.PathLike) -> list[Path]:
    """All files below a folder, sorted, but for what Python compiled."""
    return sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.parent.name != "__pycache__")


def sha256_of(path: str | os.PathLike) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    return digest_of(path, "sha256")


def digest_of(path: str | os.PathLike, kind: str) -> str:
    """A file's digest of a kind that hashlib names, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name only once it is whole: nothing is left of it where that fails. Each call writes a part of its
    own beside it, so nobody waits for another who writes the same file; the one that is whole last stays.

    The part is locked: the system frees the lock of a process that is killed, and then `remove_abandoned` takes the part away.
    """
    file = _part(path)
    lock = os.dup(file.fileno())  # held until the part has its name, which it gets when it is closed: some disks are full only then
    try:
        with file:
            yield file
        os.replace(file.name, path)
    finally:
        Path(file.name).unlink(missing_ok=True)
        os.close(lock)


def _part(path: Path) -> BinaryIO:
    """A new part of a file, locked. Its name is random, so that only `remove_abandoned` can hold the lock, and for a moment."""
    while True:
        file = open(path.with_name(f"{path.name}.{secrets.token_hex(8)}.part"), "wb")
        with contextlib.suppress(OSError):  # where a file system knows no locks, nobody can tell that a part is abandoned
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):
            return file
        file.close()  # taken away before it was locked


def remove_abandoned(*folders: str | os.PathLike) -> None:
    """Remove the parts that `whole` has left in folders where a process was killed: those that nobody has locked."""
    for part in (part for folder in folders for part in Path(folder).glob("*.part") if PART.search(part.name)):
        with contextlib.suppress(OSError), open(part, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


def write_zip(path: str | os.PathLike | BinaryIO, files: Iterable[tuple[str, Path | bytes]]) -> None:
    """Write a zip whose bytes depend on names and contents alone: no dates, no modes, no compression."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            data = content if isinstance(content, bytes) else content.read_bytes()
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
