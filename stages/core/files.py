"""Files: what lies in a folder, digests, and zips whose bytes repeat."""

import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path


def of(folder: str | os.PathLike) -> list[Path]:
    """All files below a folder, sorted, but for what Python compiled."""
    return sorted(path for path in Path(folder).rglob("*") if path.is_file() and path.parent.name != "__pycache__")


def sha256_of(path: str | os.PathLike) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_zip(path: str | os.PathLike, files: Iterable[tuple[str, Path | bytes]]) -> None:
    """Write a zip whose bytes depend on names and contents alone: no dates, no modes, no compression."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            data = content if isinstance(content, bytes) else content.read_bytes()
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
