"""What lies in a folder, a zip, a bucket or a list: which photos, of which class and split. No photo is read for that.

    found = listing.of("path", "~/pictures")       # lists the place once
    listing.hand_over(found)                       # to the stage `download`, by .cache/listing
    listing.handed_over("path", "~/pictures")      # a Listing, or None

A class is the first folder below, as `layout.find` has it, or what the column `class` of a list says.
"""

import csv
import dataclasses
import hashlib
import itertools
import json
import os
import re
import sqlite3
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import BinaryIO

from littledata.core import environment, files, lockfile
from littledata.core.errors import UserError
from littledata.core.progress import progress
from littledata.photos import archive, layout, lists, names, places
from littledata.photos.photo import Photo
from littledata.pictures import kinds

FOLDER = environment.ROOT / ".cache/listing"
HANDED_OVER = "LISTING"  # the sha256 of the listing that whoever started a stage has handed over
MAX_NAME_BYTES = 255  # of a folder, in UTF-8; another encoding may have taken less
COLUMNS = ("file", "class", "split", "size", "etag")
Place = Callable[[Photo], tuple[str, str | None] | None]  # gives a photo's class and split; None where it is outside class folders

# Of a photo that is listed twice the first line counts. Where another one gives it another class or split, that is noted.
ADD = """INSERT INTO photos VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT DO UPDATE
         SET again = excluded.kind || CASE excluded.split WHEN '' THEN '' ELSE ' in ' || excluded.split END
         WHERE (kind, split) IS NOT (excluded.kind, excluded.split)"""


def on_disk(definition: str) -> sqlite3.Connection:
    """A table `photos` on disk: a million photos take 0.1 to 0.2 GB of the temporary folder and nothing of the memory."""
    table = sqlite3.connect("", isolation_level=None)  # SQLite removes it with the connection, or with this process
    table.execute("PRAGMA journal_mode = OFF")
    table.execute("PRAGMA synchronous = OFF")
    table.execute(f"CREATE TABLE photos {definition}")
    return table


class Photos:
    """The photos of a place, in order of their names as bytes, held on disk.

    Parameters
    ----------
    source : str
        A folder or s3://bucket/prefix, with all below it, or a list that is a CSV or Parquet file, here or in a bucket. A list has a
        column `file`, `uri` or `path`, of s3:// addresses or of files, relative to the list; and, if it is to be noticed that one
        has changed, their `size` and `etag`. Its columns `class` and `split` are taken as they are.

    `base` is what the photos' names are relative to, `count` how many there are, `sha256` the digest of their names, sizes and etags,
    `left_out` what is no photo, counted by its ending.

    Raises
    ------
    UserError
        If there is no photo, or the source can't be listed.
    """

    def __init__(self, source: str) -> None:
        self.source, self.left_out = source, Counter()
        self.table = on_disk("(key BLOB PRIMARY KEY, size INTEGER, etag TEXT, kind TEXT, split TEXT, again TEXT) WITHOUT ROWID")
        photos = self._listed()
        self.table.execute("BEGIN")
        with progress(None, "listed") as bar:
            while batch := list(itertools.islice(photos, 1000)):
                self.table.executemany(ADD, ((os.fsencode(photo.key), *photo[1:5]) for photo in batch))
                bar.update(len(batch))
        self.table.execute("COMMIT")
        self.count, digest = 0, hashlib.sha256()
        for photo in self:
            self.count += 1
            digest.update(photo.line())
        self.sha256 = digest.hexdigest()
        if not self.count:
            others = f": it holds {names.counted(self.left_out)}" if self.left_out else ""
            raise UserError(f"no picture in {source}{others}")

    def __enter__(self) -> "Photos":
        return self

    def __exit__(self, *_) -> None:
        self.table.close()

    def __iter__(self) -> Iterator[Photo]:
        for key, *about in self.table.execute("SELECT key, size, etag, kind, split FROM photos ORDER BY key"):
            yield Photo(os.fsdecode(key), *about)

    def _listed(self) -> Iterator[Photo]:
        source = self.source
        if lists.is_list(source):
            parent = source.rpartition("/")[0] if places.is_bucket(source) else os.path.dirname(os.path.abspath(source))
            self.base = f"{parent}/"
            return lists.photos(source, self.base)
        if places.is_bucket(source):
            bucket = places.Bucket(source)
            self.base = f"{bucket.url}/"
            objects = (photo for photo in bucket.objects() if photo.key and not photo.key.endswith("/"))  # no consoles' folders
            # What has no ending may be a picture, and is looked into when it is its turn.
            return self._pictures((photo, kinds.of(photo.key, b"") if names.ending(photo.key) else "") for photo in objects)
        if not os.path.isdir(source):
            raise UserError(f"{source} is no folder: expected one, s3://bucket/prefix, or a list that is a CSV or Parquet file.")
        self.base = os.path.abspath(source).rstrip("/") + "/"
        return self._pictures((photo, archive.kind(None, at, photo)) for photo, at in archive.in_folder(self.base, set()))

    def _pictures(self, listed: Iterable[tuple[Photo, str | None]]) -> Iterator[Photo]:
        """Those that may be pictures. The others are left out."""
        for photo, kind in listed:
            if other := names.system(photo.name) or names.brief(photo.problem) or (kind is None and names.other(photo.name)):
                self.left_out[other] += 1
            else:
                yield photo


@dataclasses.dataclass
class Listing:
    """What a place holds.

    source, path : the params of `download` that it is of
    base : what the photos' keys are relative to; it ends with a slash. "" of a zip
    photos : with their classes and splits; to be iterated over as often as one likes
    skipped : pictures that can't be used, each with its problem, as far as that is known without decoding them
    left_out : what is no photo, counted by its ending, or by the system's folder that it lies in
    notes : lines that people should read
    numbers : of photos by class and split ("": not given), classes sorted
    size : in bytes: of the zip, or of all photos as far as it is listed
    sha256 : of the photos' names, classes, splits, sizes and etags: what `lines` gives
    """

    source: str
    path: str
    base: str
    photos: Iterable[Photo] = dataclasses.field(default_factory=list)
    skipped: list[Photo] = dataclasses.field(default_factory=list)
    left_out: dict[str, int] = dataclasses.field(default_factory=Counter)
    notes: list[str] = dataclasses.field(default_factory=list)
    numbers: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    size: int = 0
    sha256: str = ""

    @cached_property
    def zip(self) -> zipfile.ZipFile | None:
        """The archive, opened; None of a folder."""
        return None if self.base else archive.open_zip(self.path)

    @cached_property
    def _entries(self) -> dict[tuple[str, str], zipfile.ZipInfo]:
        return {(photo.key, photo.etag): entry for photo, entry in archive.in_zip(self.zip, set())}

    def read(self, photo: Photo) -> bytes:
        """The bytes of a photo of a folder or a zip; archive.Unreadable where they can't be had."""
        return archive.read(self.zip, Path(self.base + photo.key) if self.base else self._entries[photo.key, photo.etag])

    def skip(self, photo: Photo, reason: str) -> None:
        """Count a photo out, with the reason."""
        self.numbers[photo.kind][photo.split] -= 1
        self.skipped.append(photo._replace(problem=reason))

    def counts(self) -> dict[str, int]:
        """How many photos a class has, classes sorted."""
        return {kind: sum(of_split.values()) for kind, of_split in self.numbers.items() if any(of_split.values())}

    def splits(self) -> list[str]:
        """The splits that folders or the list give."""
        return sorted({split for of_split in self.numbers.values() for split, count in of_split.items() if split and count})

    def lines(self) -> list[str]:
        """What people should read of it."""
        left = [f"left out: {names.counted(self.left_out)}"] if self.left_out else []
        return [*self.notes, *left]

    def check(self) -> None:
        """Raise UserError unless there are two classes or more, whose names a disk takes, and no class folder without a photo that
        may be used."""
        for photo in self.skipped:
            if photo.kind and not self.numbers.get(photo.kind, {}).get(photo.split):
                where = f"{photo.kind} in {photo.split}" if photo.split else photo.kind
                same = (other for other in self.skipped if (other.kind, other.split) == (photo.kind, photo.split))
                why = names.counted(Counter(names.brief(other.problem) for other in same))
                raise UserError(f"{self.path}: no photo of the class {where} can be used ({why}). Convert some, or move it away.")
        classes = list(self.counts())
        others = Counter(self.left_out) + Counter(names.brief(photo.problem) for photo in self.skipped)
        if not classes:
            holds = f"; it holds {names.counted(others)}" if others else ""
            raise UserError(
                f"{self.path} holds no photos in class folders{holds}: expected {self.path}/<class>/<photo>.jpg or the like."
            )
        if long := [kind for kind in classes if len(kind.encode()) > MAX_NAME_BYTES]:
            raise UserError(f"{self.path}: the class {long[0]} has a name too long for most disks: rename its folder.")
        if wrong := [kind for kind in classes if "/" in kind or kind in ("", ".", "..")]:
            raise UserError(f"{self.path}: the class {wrong[0]!r} can't be a folder's name: rename it.")
        if len(classes) < 2:
            raise UserError(f"{self.path} holds one class ({classes[0]}): at least two are needed, a folder of photos each.")

    def measure(self, outside: Counter) -> None:
        """Count the photos, once all are known. `outside` counts, by their folders, those that lie outside class folders."""
        digest, numbers = hashlib.sha256(), {}

        def counted() -> Iterator[Photo]:
            for photo in self.photos:
                of_split = numbers.setdefault(photo.kind, Counter())
                of_split[photo.split] += 1
                self.size += max(0, photo.size)
                yield photo

        for line in lines(counted()):
            digest.update(line)
        self.sha256, self.numbers = digest.hexdigest(), dict(sorted(numbers.items()))
        of = [f"{count} in {'the folder itself' if folder == '.' else folder}" for folder, count in outside.most_common(5)]
        self.notes += [f"skipped, outside class folders: {', '.join(of)}"] if of else []
        ordered = sorted(self.numbers, key=lambda kind: (kind.casefold(), kind))
        self.notes += [
            f"{one} and {other} are two classes: name them alike if they are one."
            for one, other in pairwise(ordered)
            if one.casefold() == other.casefold()
        ]


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)


def of(source: str, path: str | os.PathLike, by: str = "folder") -> Listing:
    """List a place once.

    Parameters
    ----------
    source : as `download.source`: of `bucket` photos stay where they are; of any other, path is a folder of class folders or a zip of one
    path : as `download.path`, or the zip that a source has brought
    by : {"name", "folder"}
        Where a class stands: at the start of a file's name (Kaggle's `train/cat.0.jpg`), or as a folder (`layout.find`).

    Raises
    ------
    UserError
        As `own_photos`, `archive.open_zip` or `layout.find` do; or if a bucket can't be listed, or a photo of a list has no class or
        two.
    """
    if source == "bucket":
        return _in_place(source, in_place(path))
    return of_archive(own_photos(path) if source == "path" else Path(path), by, source)


def of_archive(path: Path, by: str = "folder", source: str = "path") -> Listing:
    """As `of`, wherever a folder or a zip lies."""
    listing, folders, outside = Listing(source, str(path), f"{path}/" if path.is_dir() else ""), set(), Counter()
    listed = archive.in_folder(path, folders) if listing.base else archive.in_zip(listing.zip, folders)
    pictures, others = _sorted_out(listing, listed)
    known = layout.ByName({}) if by == "name" else layout.find(photo.name for photo in pictures)
    photos: list[Photo] = []
    for photo in pictures:
        if place := known.place(photo.name):
            photo = photo._replace(kind=place[0], split=place[1] or "")
        else:
            outside[_folder(photo.name)] += 1
            photo = photo._replace(problem=photo.problem or "outside class folders")
        (listing.skipped if photo.problem else photos).append(photo)
    listing.photos, listing.notes = photos, listing.notes + known.notes
    listing.measure(outside)
    listing.notes += _without_photos(set(known.classes), folders, others)
    if not listing.base:
        listing.size = path.stat().st_size
    return listing


def _sorted_out(listing: Listing, listed: Iterable[tuple[Photo, Path | zipfile.ZipInfo]]) -> tuple[list[Photo], list[str]]:
    """Pictures in natural order, each with its problem; and the names of people's other files. The listing takes what is left out."""
    pictures, others = [], []
    for photo, at in listed:
        name, problem = photo.name, photo.problem
        if system := names.system(name):
            listing.left_out[system] += 1
            continue
        if problem.startswith(archive.TWICE):
            listing.notes.append(f"{name}: {problem}")  # a class, maybe
        if problem and not (archive.is_photo(name) or name.endswith("/")):
            listing.skipped.append(photo)
        elif (problem := archive.kind(listing.zip, at, photo)) is None:
            listing.left_out[names.other(name)] += 1
            others.append(name)
        else:
            pictures.append(photo._replace(problem=problem))
    return sorted(pictures, key=lambda photo: names.natural(photo.name)), others


def _without_photos(classes: set[layout.Folders], folders: set[str], others: list[str]) -> list[str]:
    """Lines about folders beside class folders that hold no photo: people may think that they are classes."""
    beside = {known[:-1] for known in classes}
    empty: dict[str, Counter] = {}
    for name in sorted(folders):
        parts = tuple(name.split("/"))
        if parts[:-1] in beside and not any(known[: len(parts)] == parts for known in classes) and not names.system(f"{name}/x"):
            empty[name] = Counter(names.other(other) for other in others if other.startswith(f"{name}/"))
    return [f"no class: the folder {name} holds no photo ({names.counted(held) or 'it is empty'})" for name, held in empty.items()]


class Again:
    """Photos that are made anew whenever they are iterated over."""

    def __init__(self, start: Callable[[], Iterator[Photo]]) -> None:
        self.start = start

    def __iter__(self) -> Iterator[Photo]:
        return self.start()


def _in_place(source: str, path: str) -> Listing:
    photos = Photos(path)
    if lists.is_list(path):
        place, notes = _of_list(photos)
    else:
        known = layout.find(map(_below, photos))
        place, notes = lambda photo: known.place(_below(photo)), known.notes

    def placed() -> Iterator[Photo]:
        for photo in photos:
            if where := place(photo):
                yield photo._replace(kind=where[0], split=where[1] or "")

    listing = Listing(source, path, photos.base, Again(placed), left_out=photos.left_out, notes=notes)
    listing.measure(Counter(_folder(_below(photo)) for photo in photos if not place(photo)))
    return listing


def _below(photo: Photo) -> str:
    """A photo's path below the base, with one slash between folders: keys of a bucket may have several."""
    return re.sub("/+", "/", photo.name).lstrip("/")


def _of_list(photos: Photos) -> tuple[Place, list[str]]:
    """What gives a photo's class and split, by the columns `class` and `split`; and lines about them."""

    def first(condition: str) -> tuple[str, ...] | None:
        row = photos.table.execute(f"SELECT key, kind, again FROM photos WHERE {condition} ORDER BY key LIMIT 1").fetchone()
        return row and (Photo(os.fsdecode(row[0]), -1, "").name, *row[1:])

    source = photos.source
    if not first("kind != ''"):
        raise UserError(f"{source}: no photo has a class; expected a column `class` beside `file`, `uri` or `path`.")
    if without := first("kind = ''"):
        raise UserError(f"{source}: {without[0]} has no class.")
    if twice := first("again IS NOT NULL"):
        raise UserError(f"{source}: {twice[0]} is listed twice, as {twice[1]} and as {twice[2]}.")
    classes: dict[str, set[str]] = {}
    for word, kind in photos.table.execute("SELECT DISTINCT split, kind FROM photos ORDER BY split"):
        classes.setdefault(word, set()).add(kind)
    if list(classes) == [""]:
        return lambda photo: (photo.kind, None), []
    splits = {word: layout.split_of(word) for word in classes}
    if wrong := [word for word, split in splits.items() if not split]:
        expected = ", ".join(layout.SPLIT_WORDS)
        raise UserError(f"{source}: a photo has the split {wrong[0]!r}; expected {expected} for each, or none at all.")
    if "train" not in splits.values():
        raise UserError(f"{source}: no photo has the split train.")
    layout.check_same(classes, dict(zip(classes, classes)), "the classes")
    used = layout.two_or_three(splits.values())
    return lambda photo: (photo.kind, used[splits[photo.split]]), [layout.how(splits, "list")]


def own_photos(path: str | os.PathLike | None) -> Path:
    """The user's own folder, zip or list, from `download.path`.

    Raises
    ------
    UserError
        Where there is none, or where a run would remove it: DVC removes what stages make before it makes it anew.
    """
    if not path:
        raise UserError("download.path is null: name a folder of class folders, or a zip, by PHOTOS.")
    place = environment.ROOT / os.path.expanduser(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = names.of_file(os.fsencode(path))
        raise UserError(f"the name of {shown} is not UTF-8, which params.yaml can't hold: name a link to it.") from None
    if not (place.is_dir() or place.is_file()):
        raise UserError(f"download.path is {path}, and there is no such folder or file.")
    for out in lockfile.outputs():
        made, photos = ((environment.ROOT / file).resolve() for file in (out, place))
        if made.is_relative_to(photos) or photos.is_relative_to(made):
            how = "holds" if made != photos and made.is_relative_to(photos) else "is or lies in"
            raise UserError(f"{path} {how} {out}, which every run removes and makes anew. Move your photos to another folder.")
    return place


def in_place(path: str | os.PathLike | None) -> str:
    """Where photos lie that stay there, from `download.path`: a bucket's address, or as `own_photos` has it."""
    return str(path) if path and "://" in str(path) else os.path.abspath(own_photos(path))


def lines(photos: Iterable[Photo]) -> Iterator[bytes]:
    """The lines of a CSV file of photos. They end with CR LF: else a CR in a name would end one."""
    line = csv.writer(SimpleNamespace(write=lambda text: text.encode(errors="surrogateescape"))).writerow
    yield line(COLUMNS)
    for photo in photos:
        yield line((photo.key, photo.kind, photo.split, photo.size, photo.etag))


def write(file: BinaryIO, photos: Iterable[Photo]) -> None:
    """Write photos as a CSV file."""
    file.writelines(lines(photos))


def read(path: Path) -> Iterator[Photo]:
    """The photos that `write` wrote, in order and in flat memory."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from (Photo(key, int(size), etag, kind, split) for key, kind, split, size, etag in rows)


def hand_over(listing: Listing) -> None:
    """Write a listing to .cache/listing, whole or not at all, for the stage `download`, which processes that this one starts from now
    on are to take it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "listing.json").unlink(missing_ok=True)  # of another one
    with files.whole(FOLDER / "photos.csv") as file:
        write(file, listing.photos)
    with files.whole(FOLDER / "listing.json") as file:
        about = {field.name: getattr(listing, field.name) for field in dataclasses.fields(Listing) if field.name != "photos"}
        file.write(json.dumps(about).encode())
    os.environ[HANDED_OVER] = listing.sha256


def handed_over(source: str, path: str | os.PathLike) -> Listing | None:
    """The listing that was handed over last, if it is of this source and path and still whole."""
    try:
        about = json.loads((FOLDER / "listing.json").read_text())
        about["skipped"] = [Photo(*row) for row in about["skipped"]]
        listing = Listing(photos=Again(lambda: read(FOLDER / "photos.csv")), **about)
        whole = files.sha256_of(FOLDER / "photos.csv") == listing.sha256
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return listing if whole and (source, _whole(path)) == (listing.source, _whole(listing.path)) else None


def _whole(path: str | os.PathLike) -> str:
    return str(path) if "://" in str(path) else os.path.abspath(environment.ROOT / os.path.expanduser(path))


def cut(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    """Cut sorted photos into shards of about `size` photos, never far more than that.

    A photo begins a shard where its name's digest is the lowest of its own, the size / 2 before it and the size / 2 after it. So a
    photo more or less moves no boundary that is further off than that, whatever the rest of the list holds, and no shard has fewer
    photos.
    """
    reach, shard = size // 2, []
    window: deque[tuple[bytes, int]] = deque()  # digests that may still be the lowest, rising
    waiting: deque[Photo] = deque()  # the photos for which the names after them aren't all known
    for number, photo in enumerate(itertools.chain(photos, itertools.repeat(None, reach))):
        if photo is not None:
            digest = hashlib.sha256(os.fsencode(photo.key)).digest()
            while window and window[-1][0] > digest:
                window.pop()
            window.append((digest, number))
            waiting.append(photo)
        middle = number - reach
        if middle < 0 or not waiting:
            continue
        while window[0][1] < middle - reach:
            window.popleft()
        if window[0][1] == middle >= reach and shard and photo is not None:
            yield shard
            shard = []
        shard.append(waiting.popleft())
    if shard:
        yield shard
