"""Files of folders and zip archives: found, checked before they are trusted, and read in place. Nothing here writes."""

import os
import re
import stat
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from littledata.core.errors import UserError
from littledata.photos import names
from littledata.photos.photo import Photo, too_large
from littledata.pictures import kinds

TWICE = "a link to a folder that is listed anyway"


class Unreadable(Exception):
    """A file's bytes can't be had; the message says why."""


def is_photo(name: str) -> bool:
    """Whether a path looks like a photo's: a picture's ending, and no hidden file or system's folder on the way."""
    return PurePosixPath(name).suffix.lower() in kinds.ENDINGS and not names.system(name)


def kind(archive: zipfile.ZipFile | None, at: Path | zipfile.ZipInfo, photo: Photo) -> str | None:
    """As `kinds.of` has it: "" for a picture, the reason for one that can't be used, None for what is no picture. A file is opened
    where its ending doesn't say what it is."""
    if photo.problem or names.system(photo.name):
        return photo.problem
    if is_photo(photo.name):
        return too_large(photo.size) or (
            "" if isinstance(at, zipfile.ZipInfo) or os.access(at, os.R_OK) else "can't be read: no permission"
        )
    try:
        what = kinds.of(photo.name, read(archive, at, kinds.HEAD))
    except Unreadable as error:
        return str(error)
    return too_large(photo.size) if what == "" else what


def read(archive: zipfile.ZipFile | None, at: Path | zipfile.ZipInfo, size: int = -1) -> bytes:
    """The first bytes of a file in a folder or of an archive's entry, or all of them; Unreadable where they can't be had."""
    try:
        with archive.open(at) if isinstance(at, zipfile.ZipInfo) else open(at, "rb") as opened:
            return opened.read(size)
    except OSError as error:
        raise Unreadable(f"can't be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise Unreadable(f"damaged in the archive: {error}") from None


def open_zip(path: str | os.PathLike) -> zipfile.ZipFile:
    """Open a zip after a look at every name in it.

    Raises
    ------
    UserError
        If the file is missing, no zip or cut off, or holds an absolute path, a `..`, a symbolic link or an
        encrypted entry.
    """
    if not os.path.isfile(path):  # a pipe would be waited for
        raise UserError(f"{path} is not a file: expected a zip archive.")
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.") from None
    except (zipfile.BadZipFile, OSError) as error:
        again = "download it again" if str(path).lower().endswith(".zip") else "name a folder of class folders, or a zip of it"
        raise UserError(f"{path} is not a zip archive, or only a part of one ({error}): {again}.") from None
    except (UnicodeDecodeError, NotImplementedError) as error:
        raise UserError(f"{path} is a zip archive that can't be read here ({error}): pack it again.") from None
    for entry, name in _named(archive):
        drive = re.match(r"[A-Za-z]:" if entry.create_system == names.DOS else r"[A-Za-z]:([/\\]|$)", name)
        if drive or name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
            problem = "leads outside the archive"
        elif stat.S_ISLNK(entry.external_attr >> 16):
            problem = "is a symbolic link"
        elif entry.flag_bits & 1:
            problem = "is encrypted"
        else:
            continue
        archive.close()
        raise UserError(f"{path}: the entry {name!r} {problem}. Nothing was taken from this archive.")
    return archive


def _named(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    slashes = any("/" in entry.orig_filename for entry in archive.infolist())
    return [(entry, names.of_entry(entry, slashes)) for entry in archive.infolist()]


def entries(archive: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """A zip's entries, each with its name as people read it. A folder's ends with `/`."""
    for entry, name in _named(archive):
        yield entry, re.sub(r"(^|/)(\./|/)+", r"\1", name)  # ./cats//1.jpg


def in_zip(archive: zipfile.ZipFile, folders: set[str]) -> Iterator[tuple[Photo, zipfile.ZipInfo]]:
    """The files of a zip. `folders` takes all folders' names."""
    for entry, name in entries(archive):
        parts = name.rstrip("/").split("/") if name.endswith("/") else name.split("/")[:-1]
        folders.update("/".join(parts[:n]) for n in range(1, len(parts) + 1))
        if not name.endswith("/"):
            yield Photo(name, entry.file_size, f"{entry.CRC:08x}"), entry


def in_folder(top: str | os.PathLike, folders: set[str], links: bool = True) -> Iterator[tuple[Photo, Path]]:
    """The files below a folder, one after the other, each folder once, also through `links`. `folders` takes all folders' names.

    A folder that can't be read is given as well, as a photo with a problem whose key ends with `/`.
    """
    seen: dict[str, str] = {}
    queue, linked = deque([""]), deque()
    while queue or (linked and links):  # what people link lies elsewhere; where it doesn't, its own place counts
        key = queue.popleft() if queue else linked.popleft()
        folder = Path(top, key)
        name = Photo(key, 0, "").name
        real = os.path.realpath(folder)
        if real in seen:
            yield Photo(key, 0, "", problem=f"{TWICE}: {seen[real] or 'the whole folder'}"), folder
            continue
        seen[real] = name
        folders.update([name] if name else ())
        try:
            with os.scandir(folder) as scanned:
                inside = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            if not key:
                raise UserError(f"{top} can't be read: {error.strerror}.") from None
            yield Photo(f"{key}/", 0, "", problem=f"a folder that can't be read: {error.strerror}"), folder
            continue
        for entry in inside:
            path, below = Path(entry.path), f"{key}/{entry.name}".removeprefix("/")
            try:
                is_folder, about = entry.is_dir(), entry.stat()
            except OSError as error:
                problem = "a link to nothing" if entry.is_symlink() else f"can't be read: {error.strerror}"
                yield Photo(below, 0, "", problem=problem), path
                continue
            if is_folder:
                (linked if entry.is_symlink() else queue).append(below)
            else:
                problem = "" if stat.S_ISREG(about.st_mode) else "a pipe, a socket or a device"
                yield Photo(below, about.st_size, stamp(about), problem=problem), path


def stamp(about: os.stat_result) -> str:
    """What changes when a file does, as far as a disk tells."""
    return str(about.st_mtime_ns)
