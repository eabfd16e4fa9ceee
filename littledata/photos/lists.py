"""A list of photos and their classes, which stay where they are: in a bucket, in a folder that is read in place, or where a CSV or
Parquet file says. Nothing but names, sizes and etags is read.

A class is the first folder below, as `layout.find` has it, or what the column `class` of a list says.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from littledata.core import files
from littledata.core.errors import UserError
from littledata.photos import archive, fetch, layout, listing
from littledata.photos.places import Photo
from littledata.splits import dataset

LATEST = fetch.CACHE / "list"  # the last list, which `make repro` makes and then the stage `download` takes
LIST, NOTE = "photos.csv", "list.json"  # what `bring` writes into a folder


@dataclass(frozen=True)
class Summary:
    """What a list holds, as `archive.Listing` says it of a folder.

    path : what was listed
    base : what the photos' names are relative to; it ends with a slash
    sha256 : of the list
    of_class : how many photos each class has, classes sorted
    bytes : the size of all photos, as far as the list has it
    given : the splits that folders or the list give
    """

    path: str
    base: str
    sha256: str
    of_class: dict[str, int]
    bytes: int
    given: list[str]
    left_out: dict[str, int]
    notes: list[str]

    def counts(self) -> dict[str, int]:
        return self.of_class

    def size(self) -> int:
        return self.bytes

    def splits(self) -> list[str]:
        return self.given

    def lines(self) -> list[str]:
        """What people should read of it."""
        return self.notes + ([f"left out: {archive.counted(Counter(self.left_out))}"] if self.left_out else [])

    def check(self) -> None:
        """Raise UserError unless there are two classes or more."""
        archive.check_classes(self.path, list(self.of_class), Counter(self.left_out))


def bring(source: str, folder: Path) -> Summary:
    """List a source into a folder: `LIST`, sorted by the photos' names as bytes, and `NOTE`, what `brought` gives of it.

    Raises
    ------
    UserError
        If it can't be listed, or a photo of a list has no class, or two. Then nothing is written.
    """
    with listing.Listing(source, _InFolder) as found:
        is_list = source.lower().endswith(listing.LISTS)
        place, notes = _of_list(found) if is_list else _of_folders(found)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NOTE).unlink(missing_ok=True)  # of another list
        counts, outside = _Counts(), Counter()
        with files.whole(folder / LIST) as file:
            listing.write(file, counts.of(_placed(found, place, outside)))
    of_class = dict(sorted(counts.photos.items()))
    summary = Summary(
        path=source, base=found.base, sha256=files.sha256_of(folder / LIST), of_class=of_class, bytes=counts.bytes,
        given=sorted(counts.splits), left_out=dict(sorted(found.left_out.items())),
        notes=notes + archive.outside_line(outside) + archive.alike_lines(of_class),
    )  # fmt: skip
    with files.whole(folder / NOTE) as file:
        file.write(json.dumps(vars(summary)).encode())
    return summary


def brought(folder: Path) -> Summary | None:
    """What `bring` has written into a folder, if it has and the list is still whole."""
    try:
        found = Summary(**json.loads((folder / NOTE).read_text()))
        return found if files.sha256_of(folder / LIST) == found.sha256 else None
    except (OSError, ValueError, TypeError):
        return None


def of_note(note: Mapping) -> Summary:
    """What data/raw/source.json says of a list."""
    names = {"of_class": "counts", "given": "splits"}
    return Summary(
        **{field.name: note[names.get(field.name, field.name)] for field in fields(Summary) if field.name != "notes"}, notes=[]
    )


class _Counts:
    """Counts photos on their way."""

    def __init__(self) -> None:
        self.photos, self.bytes, self.splits = Counter(), 0, set()

    def of(self, photos: Iterator[Photo]) -> Iterator[Photo]:
        for photo in photos:
            self.photos[photo.kind] += 1
            self.bytes += max(0, photo.size)
            self.splits |= {photo.split} if photo.split else set()
            yield photo


class _InFolder:
    """The pictures below a folder of this machine, by their endings or else by what is in them."""

    def __init__(self, folder: str) -> None:
        self.folder, self.left_out = folder, Counter()

    def __iter__(self) -> Iterator[str]:
        for file in archive.in_folder(Path(self.folder), set()):
            if what := archive.other(file):
                self.left_out[what] += 1
            else:
                yield str(file.at)


def _placed(photos: listing.Listing, place, outside: Counter) -> Iterator[Photo]:
    """The photos with their classes and splits. `outside` counts those that have none, by their folders."""
    for photo in photos:
        if where := place(photo):
            yield Photo(photo.key, photo.size, photo.etag, where[0], where[1] or "")
        else:
            outside[str(PurePosixPath(_path(photo)).parent)] += 1


def _path(photo: Photo) -> str:
    """A photo's path below the base, with one slash between folders: keys of a bucket may have several."""
    return re.sub("/+", "/", photo.name).lstrip("/")


def _of_folders(photos: listing.Listing):
    """What gives a photo's class and split by its folders; and lines about them."""
    known = layout.find(map(_path, photos))
    return lambda photo: known.place(_path(photo)), known.notes


def _of_list(photos: listing.Listing):
    """As `_of_folders`, by the columns `class` and `split`."""

    def name(condition: str) -> tuple[str, ...] | None:
        found = photos.table.execute(f"SELECT key, kind, again FROM photos WHERE {condition} ORDER BY key LIMIT 1").fetchone()
        return found and (Photo(os.fsdecode(found[0]), -1, "").name, *found[1:])

    source = photos.source
    if not name("kind != ''"):
        raise UserError(f"{source}: no photo has a class; expected a column `class` beside `file`, `uri` or `path`.")
    if without := name("kind = ''"):
        raise UserError(f"{source}: {without[0]} has no class.")
    if twice := name("again IS NOT NULL"):
        raise UserError(f"{source}: {twice[0]} is listed twice, as {twice[1]} and as {twice[2]}.")
    words = [word for (word,) in photos.table.execute("SELECT DISTINCT split FROM photos ORDER BY split")]
    if words == [""]:
        return lambda photo: (photo.kind, None), []
    splits = {word: layout.split_of(word) for word in words}
    if wrong := [word for word, split in splits.items() if not split]:
        raise UserError(
            f"{source}: a photo has the split {wrong[0]!r}; expected {', '.join(dataset.SPLITS)} for each, or none at all."
        )
    if "train" not in splits.values():
        raise UserError(f"{source}: no photo has the split train.")
    kinds: dict[str, set[str]] = {}
    for word, kind in photos.table.execute("SELECT DISTINCT split, kind FROM photos ORDER BY split"):
        kinds.setdefault(word, set()).add(kind)
    layout.check_same(kinds, dict(zip(words, words)), "the classes")
    used = layout.two_or_three(splits.values())
    return lambda photo: (photo.kind, used[splits[photo.split]]), [layout.how(splits, "list")]
