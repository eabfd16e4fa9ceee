"""Photos in zip archives and folders: checked before they are trusted, listed in one way, read in place, never written to."""

import hashlib
import os
import re
import stat
import warnings
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from littledata.core import files
from littledata.core.errors import UserError
from littledata.photos import layout as layouts
from littledata.photos import names
from littledata.photos.names import natural
from littledata.pictures import kinds

MAX_PHOTO_BYTES = 256 * 2**20
MAX_NAME_BYTES = 255  # of a folder, in UTF-8; another encoding may have taken less
TWICE = "a link to a folder that is listed anyway"
LAYOUTS = {"name": lambda paths: layouts.ByName(), "folder": layouts.find}


class Unreadable(Exception):
    """A file's bytes can't be had; the message says why."""


class File(NamedTuple):
    """A file of a folder or a zip: its name as `names` has it, its size in bytes, where it lies, and what is wrong with it. A
    folder that can't be read is one as well, whose name ends with `/`."""

    name: str
    size: int
    at: Path | zipfile.ZipInfo
    problem: str = ""


class Found(NamedTuple):
    """A photo of a listing. `split` is None where folders don't give it. Two files may have the same name."""

    name: str
    kind: str
    split: str | None
    file: File


@dataclass
class Listing:
    """What a folder or a zip holds.

    photos : in natural order
    skipped : (name, reason) of pictures that can't be used, as far as that is known without decoding them
    left_out : what is no photo, counted by its ending, or by the system's folder that it lies in
    notes : lines that people should read
    """

    path: Path
    archive: zipfile.ZipFile | None = None
    photos: list[Found] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    unusable: dict[str, Counter] = field(default_factory=dict)  # of every class folder: reasons of what was skipped in it

    def __enter__(self) -> "Listing":
        return self

    def __exit__(self, *_) -> None:
        if self.archive:
            self.archive.close()

    def read(self, photo: Found) -> bytes:
        """A photo's bytes; Unreadable where they can't be had."""
        return read(self.archive, photo.file)

    def counts(self) -> dict[str, int]:
        """How many photos a class has, classes sorted."""
        return dict(sorted(Counter(photo.kind for photo in self.photos).items()))

    def size(self) -> int:
        """How large the zip is, or all photos of the folder are."""
        return self.path.stat().st_size if self.archive else sum(photo.file.size for photo in self.photos)

    def skip(self, photo: Found, reason: str) -> None:
        """Take a photo out, with the reason."""
        self.photos.remove(photo)
        self.skipped.append((photo.name, reason))
        self.unusable.setdefault(place(photo.kind, photo.split), Counter())[brief(reason)] += 1

    def splits(self) -> list[str]:
        """The splits that folders give."""
        return sorted({photo.split for photo in self.photos if photo.split})

    def lines(self) -> list[str]:
        """What people should read of it."""
        left = [f"left out: {counted(self.left_out)}"] if self.left_out else []
        return [*self.notes, *left]

    def check(self) -> None:
        """Raise UserError unless there are two classes or more, and no class folder without a photo that may be used."""
        usable = {place(photo.kind, photo.split) for photo in self.photos}
        for where, reasons in self.unusable.items():
            if where not in usable:
                raise UserError(
                    f"{self.path}: no photo of the class {where} can be used ({counted(reasons)}). Convert some, or move it away."
                )
        check_classes(self.path, list(self.counts()), self.left_out + Counter(brief(reason) for _, reason in self.skipped))


def check_classes(path: str | os.PathLike, found: list[str], others: Counter) -> None:
    """Raise UserError unless there are two classes or more, whose names a disk takes. `others` is what else was found there."""
    if not found:
        there = f"; it holds {counted(others)}" if others else ""
        raise UserError(f"{path} holds no photos in class folders{there}: expected {path}/<class>/<photo>.jpg or the like.")
    if long := [kind for kind in found if len(kind.encode()) > MAX_NAME_BYTES]:
        raise UserError(f"{path}: the class {long[0]} has a name too long for most disks: rename its folder.")
    if wrong := [kind for kind in found if "/" in kind or kind in ("", ".", "..")]:
        raise UserError(f"{path}: the class {wrong[0]!r} can't be a folder's name: rename it.")
    if len(found) < 2:
        raise UserError(f"{path} holds one class ({found[0]}): at least two are needed, a folder of photos each.")


def outside_line(outside: Counter) -> list[str]:
    """A line about photos that lie outside class folders, counted by their folder, if there are any."""
    of = [f"{count} in {'the folder itself' if folder == '.' else folder}" for folder, count in outside.most_common(5)]
    return [f"skipped, outside class folders: {', '.join(of)}"] if of else []


def alike_lines(kinds: Iterable[str]) -> list[str]:
    """Lines about classes whose names differ in upper and lower case alone."""
    ordered = sorted(kinds, key=lambda kind: (kind.casefold(), kind))
    return [
        f"{one} and {other} are two classes: name them alike if they are one."
        for one, other in pairwise(ordered)
        if one.casefold() == other.casefold()
    ]


def place(kind: str, split: str | None) -> str:
    """A class as people find it: with its split where folders give it."""
    return f"{kind} in {split}" if split else kind


def brief(reason: str) -> str:
    """The kind of a reason: what stands before its details."""
    return reason.partition(":")[0]


def counted(what: Counter) -> str:
    """Counts for people, the largest first: 9 .mov, 2 .xlsx."""
    return ", ".join(f"{count} {name}" for name, count in sorted(what.items(), key=lambda item: (-item[1], item[0])))


def listing(path: str | os.PathLike, layout: str = "folder") -> Listing:
    """List the photos of a folder of class folders, or of a zip of one.

    Parameters
    ----------
    layout : {"name", "folder"}
        Where a class stands: at the start of a file's name (Kaggle's `train/cat.0.jpg`), or as a folder (`layout.find`).

    Raises
    ------
    UserError
        As `open_zip` or `layout.find` do.
    """
    path = Path(path)
    found = Listing(path, None if path.is_dir() else open_zip(path))
    folders: set[str] = set()
    there = _in_zip(found.archive, folders) if found.archive else in_folder(path, folders)
    pictures, others = _sorted_out(found, there)
    known = LAYOUTS[layout](file.name for file, _ in pictures)
    outside: Counter = Counter()
    for file, reason in pictures:
        where = known.place(file.name)
        if not where:
            outside[str(PurePosixPath(file.name).parent)] += 1
            reason = reason or "outside class folders"
        else:
            found.unusable.setdefault(place(*where), Counter()).update([brief(reason)] if reason else ())
        if reason:
            found.skipped.append((file.name, reason))
        else:
            found.photos.append(Found(file.name, *where, file))
    found.notes += known.notes
    found.notes += outside_line(outside) + alike_lines(found.counts())
    found.notes += _without_photos(set(known.classes), folders, others)
    return found


def _sorted_out(found: Listing, there: Iterable[File]) -> tuple[list[tuple[File, str]], list[str]]:
    """Pictures in natural order, each with the reason why it can't be used or ""; and the names of people's other files. The
    listing counts what is left out."""
    pictures, others = [], []
    for file in there:
        if system := names.system(file.name):
            found.left_out[system] += 1
            continue
        reason = file.problem or _kind(found.archive, file)
        if file.problem.startswith(TWICE):
            found.notes.append(f"{file.name}: {file.problem}")  # a class, maybe
        if file.problem and not (is_photo(file.name) or file.name.endswith("/")):
            found.skipped.append((file.name, file.problem))
        elif reason is None:
            found.left_out[names.ending(file.name) or "without an ending"] += 1
            others.append(file.name)
        else:
            pictures.append((file, reason))
    return sorted(pictures, key=lambda picture: natural(picture[0].name)), others


def _kind(archive: zipfile.ZipFile | None, file: File) -> str | None:
    """As `kinds.of` has it. A file is opened where its ending doesn't say what it is."""
    if file.size > MAX_PHOTO_BYTES and is_photo(file.name):
        return f"absurdly large: {file.size / 1e6:.0f} MB"
    if is_photo(file.name):
        return "" if archive or os.access(file.at, os.R_OK) else "can't be read: no permission"
    try:
        kind = kinds.of(file.name, read(archive, file, kinds.HEAD))
    except Unreadable as error:
        return str(error)
    return f"absurdly large: {file.size / 1e6:.0f} MB" if kind == "" and file.size > MAX_PHOTO_BYTES else kind


def other(file: File) -> str:
    """What a folder's file is where it is no picture: where it lies, its ending, or what is wrong with it; "" for a picture."""
    if system := names.system(file.name):
        return system
    if file.problem:
        return brief(file.problem)
    return "" if _kind(None, file) is not None else names.ending(file.name) or "without an ending"


def _without_photos(classes: set[layouts.Folders], folders: set[str], others: list[str]) -> list[str]:
    """Lines about folders beside class folders that hold no photo: people may think that they are classes."""
    beside = {known[:-1] for known in classes}
    empty: dict[str, Counter] = {}
    for name in sorted(folders):
        parts = tuple(name.split("/"))
        if parts[:-1] in beside and not any(known[: len(parts)] == parts for known in classes) and not names.system(f"{name}/x"):
            empty[name] = Counter(names.ending(other) or "without an ending" for other in others if other.startswith(f"{name}/"))
    return [f"no class: the folder {name} holds no photo ({counted(files) or 'it is empty'})" for name, files in empty.items()]


def is_photo(name: str) -> bool:
    """Whether a path looks like a photo's: a picture's ending, and no hidden file or system's folder on the way."""
    return PurePosixPath(name).suffix.lower() in kinds.ENDINGS and not names.system(name)


def read(archive: zipfile.ZipFile | None, file: File, size: int = -1) -> bytes:
    """The first bytes of a file, or all; Unreadable where they can't be had."""
    try:
        with open(file.at, "rb") if archive is None else archive.open(file.at) as opened:
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
    for entry, name in entries(archive):
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


def entries(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
    """A zip's entries, each with its name as people read it."""
    slashes = any("/" in entry.orig_filename for entry in archive.infolist())
    return [(entry, names.of_entry(entry, slashes)) for entry in archive.infolist()]


def _in_zip(archive: zipfile.ZipFile, folders: set[str]) -> Iterator[File]:
    """The files of a zip. `folders` takes all folders' names."""
    for entry, name in entries(archive):
        name = re.sub(r"(^|/)(\./|/)+", r"\1", name)  # ./cats//1.jpg
        is_folder = name.endswith("/")
        name = name.rstrip("/")
        parts = name.split("/") if is_folder else name.split("/")[:-1]
        folders.update("/".join(parts[:n]) for n in range(1, len(parts) + 1))
        if not is_folder:
            yield File(name, entry.file_size, entry)


def in_folder(top: Path, folders: set[str]) -> Iterator[File]:
    """The files below a folder, one after the other, also through links, each folder once. `folders` takes all folders' names."""
    seen: dict[str, str] = {}
    todo, links = deque([(top, "")]), deque()
    while todo or links:  # what people link lies elsewhere; where it doesn't, its own place counts
        folder, name = todo.popleft() if todo else links.popleft()
        real = os.path.realpath(folder)
        if real in seen:
            yield File(name, 0, folder, f"{TWICE}: {seen[real] or 'the whole folder'}")
            continue
        seen[real] = name
        folders.update([name] if name else ())
        try:
            with os.scandir(folder) as scanned:
                there = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            if not name:
                raise UserError(f"{top} can't be read: {error.strerror}.") from None
            yield File(f"{name}/", 0, folder, f"a folder that can't be read: {error.strerror}")
            continue
        for entry in there:
            path, inside = Path(entry.path), f"{name}/{names.of_file(os.fsencode(entry.name))}".removeprefix("/")
            try:
                is_folder, about = entry.is_dir(), entry.stat()
            except OSError as error:
                yield File(inside, 0, path, "a link to nothing" if entry.is_symlink() else f"can't be read: {error.strerror}")
                continue
            if is_folder:
                (links if entry.is_symlink() else todo).append((path, inside))
            else:
                yield File(inside, about.st_size, path, "" if stat.S_ISREG(about.st_mode) else "a pipe, a socket or a device")


def pack(found: Listing, target: Path) -> str:
    """Write a folder's photos into a zip whose bytes depend on names and contents alone; returns `folder_sha256`. Photos that
    can't be read go to the listing's `skipped`."""
    digest = hashlib.sha256()
    with warnings.catch_warnings(action="ignore"):  # two files may have the same name
        files.write_zip(target, _read_all(found, digest))
    return digest.hexdigest()


def folder_sha256(found: Listing) -> str:
    """One digest for a folder of class folders: sha256 over every photo's sha256 and path, in order of the paths."""
    digest = hashlib.sha256()
    for _ in _read_all(found, digest):
        pass
    return digest.hexdigest()


def _read_all(found: Listing, digest) -> Iterator[tuple[str, bytes]]:
    for photo in sorted(found.photos, key=lambda photo: (photo.name, os.fsencode(photo.file.at))):
        try:
            data = found.read(photo)
        except Unreadable as error:
            found.skip(photo, str(error))
            continue
        digest.update(f"{hashlib.sha256(data).hexdigest()}  {photo.name}\n".encode())
        yield photo.name, data
