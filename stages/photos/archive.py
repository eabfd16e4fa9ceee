"""Photos in zip archives and folders: checked before they are trusted, read in place."""

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from stages.core.errors import UserError
from stages.core.files import sha256_of

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".gif", ".bmp", ".tif", ".tiff"}
MAX_PHOTO_BYTES = 256 * 2**20


def open_zip(path: str | os.PathLike) -> zipfile.ZipFile:
    """Open a zip after a look at every name in it.

    Raises
    ------
    UserError
        If the file is missing, no zip or cut off, or holds an absolute path, a `..`, a symbolic link or an
        encrypted entry.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path} is not a file: expected a zip archive.") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is not a zip archive, or only a part of one ({error}): download it again.") from None
    for entry in archive.infolist():
        name = entry.filename
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in PurePosixPath(name).parts:
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


def is_photo(name: str) -> bool:
    """Whether a path looks like a photo's: a picture's extension, and no hidden file or folder on the way."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in EXTENSIONS and not hidden


def natural(name: str) -> list:
    """A sort key that puts cat.2 before cat.10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def classes_of(names: Sequence[str], layout: str) -> list[str]:
    """The class of each photo by its path, "" for one outside class folders.

    Parameters
    ----------
    names : sequence of str
        Paths of photos, with `/`.
    layout : {"name", "folder"}
        Where a class stands: at the start of a file's name (Kaggle's `train/cat.0.jpg`), or as the first folder
        below what all photos share (`PetImages/Cat/0.jpg`).
    """
    paths = [PurePosixPath(name) for name in names]
    if layout == "name":
        return [path.name.split(".")[0] for path in paths]
    folders = [path.parts[:-1] for path in paths]
    shared = len(os.path.commonprefix(folders)) if len(set(folders)) > 1 else 0
    return [parts[shared] if len(parts) > shared else "" for parts in folders]


def by_class(archive: zipfile.ZipFile, layout: str) -> dict[str, list[zipfile.ZipInfo]]:
    """The archive's photos by class name, as `classes_of` has it: classes sorted, photos in natural order."""
    photos = [entry for entry in archive.infolist() if not entry.is_dir() and is_photo(entry.filename)]
    names = classes_of([entry.filename for entry in photos], layout)
    classes: dict[str, list[zipfile.ZipInfo]] = {name: [] for name in sorted(set(names)) if name}
    for name, entry in zip(names, photos):
        if name:
            classes[name].append(entry)
    return {name: sorted(entries, key=lambda e: natural(e.filename)) for name, entries in classes.items()}


def photos_in(folder: Path) -> list[tuple[str, Path]]:
    """The photos of a folder of class folders: (path inside it with `/`, file), sorted."""
    found, seen = [], {os.path.realpath(folder)}
    for parent, below, files in os.walk(folder, followlinks=True):  # people link class folders, and in circles
        real = {name: os.path.realpath(Path(parent, name)) for name in sorted(below)}
        below[:] = [name for name in real if real[name] not in seen]
        seen.update(real.values())
        for file in files:
            path = Path(parent, file)
            name = path.relative_to(folder).as_posix()
            if "/" in name and is_photo(name) and path.is_file():  # not a link to nowhere
                found.append((name, path))
    return sorted(found)


def folder_sha256(folder: Path) -> str:
    """One digest for a folder of class folders: sha256 over every photo's path and sha256, in order."""
    digest = hashlib.sha256()
    for name, path in photos_in(folder):
        digest.update(f"{sha256_of(path)}  {name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
