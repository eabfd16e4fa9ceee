"""Files: what lies in a folder, digests, and zips whose bytes repeat."""

import contextlib
import hashlib
import os
import re
import threading
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import psutil


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
    """Open a file that gets its name only once it is whole: nothing is left of it where that fails. Several processes and threads
    may write the same one; what the last of them wrote stays."""
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with open(part, "wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what `whole` has left in a folder where a process was killed."""
    for part in folder.glob("*.part"):
        if (pid := re.search(r"\.(\d+)-\d+\.part$", part.name)) and not psutil.pid_exists(int(pid[1])):
            part.unlink(missing_ok=True)


def write_zip(path: str | os.PathLike, files: Iterable[tuple[str, Path | bytes]]) -> None:
    """Write a zip whose bytes depend on names and contents alone: no dates, no modes, no compression."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            data = content if isinstance(content, bytes) else content.read_bytes()
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
