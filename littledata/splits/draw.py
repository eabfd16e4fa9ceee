"""Draw photos of every class and deal them to splits: from the archive, or from the list of what lies elsewhere.

`stages/subsample.py` says what is drawn. An archive's photos are all read, so its copies are known beforehand, and photos are ordered by
their own digests. Of a list only those are read, hashed and copied that are drawn, so photos are ordered by their names, and copies are
found on the way.
"""

import hashlib
import json
import os
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from littledata.core import environment, files
from littledata.core.errors import UserError
from littledata.core.progress import progress
from littledata.photos import archive, download, listing, names, places
from littledata.photos.photo import Photo
from littledata.pictures import images, kinds
from littledata.splits import dataset

SKIPPED = Path("data/skipped.csv")
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}  # of every class, where it has fewer photos than are asked for
DIGITS = 16  # of a photo's sha256, in its file's name
BATCH = 1000  # photos that are handed to the readers at once
DECODING = threading.BoundedSemaphore(environment.THREADS)  # a large picture takes 0.4 GB
LEARNT_LAST = ("test", "validation", "train")  # of copies in the folders' splits the first one counts
Skipped = list[tuple[str, str]]  # name in the archive or list, reason


# Copies


def first_of(photos: Sequence[Photo]) -> tuple[Photo | None, list[tuple[Photo, str]]]:
    """Of photos with the same bytes the one that counts, and the others with their reasons. None counts that is in two classes. Where
    folders give splits, it is the first in the last split, which nothing is to be learnt from."""
    if len({photo.kind for photo in photos}) > 1:
        others = [next(other for other in photos if other.kind != photo.kind) for photo in photos]
        return None, [(photo, f"in two classes: the same bytes as {other.name}") for photo, other in zip(photos, others)]
    first = max(photos, key=lambda photo: dataset.SPLITS.index(photo.split) if photo.split else 0)

    def reason(photo: Photo) -> str:
        what = "a copy" if photo.split == first.split else f"a copy in {photo.split} of a photo in {first.split}"
        return f"{what}: the same bytes as {first.name}"

    return first, [(photo, reason(photo)) for photo in photos if photo is not first]


def distinct(photos: Iterable[tuple[Photo, str]]) -> tuple[dict[Photo, str], Skipped, Skipped]:
    """Tell photos, each with its sha256, from copies: (photos to use, copies of them, photos that are in two classes)."""
    same, kept, copies, conflicts = defaultdict(list), {}, [], []
    for photo, sha256 in photos:
        same[sha256].append(photo)
    for sha256, alike in same.items():
        first, others = first_of(alike)
        if first:
            kept[first] = sha256
        (copies if first else conflicts).extend((photo.name, reason) for photo, reason in others)
    return kept, copies, conflicts


def fill(
    rows: Mapping[str, Iterator[Photo]],
    wanted: Mapping[str, int | None],
    usable: Callable[[Photo], tuple[str, str]],
    skipped: Skipped,
    bar,
    readers: int,
) -> dict[str, list[tuple[Photo, str]]]:
    """Draw photos of each class: those that can be used, each with its sha256, in their order; no photo twice.

    Parameters
    ----------
    rows : the photos of each class, in the order in which they are drawn
    wanted : how many photos of each class; None: all. A class gets fewer where its photos are through
    usable : gives a photo's sha256 as far as it is known, and the reason why it can't be used, or ""
    skipped : takes the name and the reason of photos that can't be used, and of copies
    """
    drawn: dict[str, dict[str, Photo]] = {kind: {} for kind in wanted}
    same, named = defaultdict(list), set()

    def missing(kind: str) -> int:
        return BATCH if wanted[kind] is None else min(BATCH, wanted[kind] - len(drawn[kind]))

    def add(photo: Photo, sha256: str) -> None:
        same[sha256].append(photo)
        first, others = first_of(same[sha256])
        if first is photo:
            drawn[photo.kind][sha256] = photo
        elif not first:
            drawn[same[sha256][0].kind].pop(sha256, None)
        for other, reason in reversed(others):
            if other not in named:
                named.add(other)
                skipped.append((other.name, reason))

    with ThreadPoolExecutor(readers) as pool:
        any_read = True
        while any_read:  # once more, where a photo that was drawn turned out to be in another class as well
            any_read = False
            for kind in wanted:
                while batch := list(islice(rows[kind], missing(kind))):
                    any_read = True
                    for photo, (sha256, reason) in zip(batch, pool.map(usable, batch)):
                        if reason:
                            skipped.append((photo.name, reason))
                        else:
                            add(photo, sha256)
                        bar.update(1)
    return {kind: [(photo, sha256) for sha256, photo in of_kind.items()] for kind, of_kind in drawn.items()}


# Ordering


def ordered(photos: Iterable[Photo], params, digests: Mapping[Photo, str] | None = None):
    """A table of photos, on disk, by class and place: by seed and digest alone; of a list by seed and name, since the bytes of those that
    are not drawn are not known; or by their number in the archive or list."""

    def place(number: int, photo: Photo) -> bytes:
        rank = bytes([LEARNT_LAST.index(photo.split)]) if photo.split and digests is None else b""
        if params.order == "archive":
            return rank + number.to_bytes(8)
        known_by = os.fsencode(photo.key) if digests is None else digests[photo].encode()
        return rank + hashlib.sha256(f"{params.seed} ".encode() + known_by).digest()

    table = listing.on_disk("(place BLOB, key BLOB, size INTEGER, etag TEXT, kind TEXT, split TEXT)")
    rows = ((place(number, photo), os.fsencode(photo.key), *photo[1:5]) for number, photo in enumerate(photos))
    table.execute("BEGIN")
    table.executemany("INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?)", rows)
    table.execute("CREATE INDEX by_place ON photos (kind, place, key)")  # afterwards: it is sorted then, in half of the time
    table.execute("COMMIT")
    return table


def of_class(table, kind: str) -> Iterator[Photo]:
    """A class' photos of such a table, in order."""
    for key, *about in table.execute("SELECT key, size, etag, kind, split FROM photos WHERE kind = ? ORDER BY place, key", [kind]):
        yield Photo(os.fsdecode(key), *about)


# How many photos


def counts(params, found: int | None = None) -> dict[str, int]:
    """How many photos of a class each split takes, from a class of `found` usable ones where params ask for shares: then a
    split gets one at least where there is one for each.

    Raises
    ------
    UserError
        Where numbers and shares are mixed, or shares add up to more than 1.
    """
    asked = {split: params[split] for split in dataset.SPLITS}
    words = "subsample.train, subsample.validation and subsample.test"
    if len({type(value) for value in asked.values()}) > 1:
        raise UserError(f"{words} are {', '.join(map(str, asked.values()))}: give three numbers, or three shares.")
    if not shares(params):
        return asked
    if sum(asked.values()) > 1 + 1e-9:
        raise UserError(f"{words} are shares that add up to {sum(asked.values()):g}: 1 at most.")
    return dict(zip(asked, parts(list(asked.values()), found or 0)))


def parts(sizes: Sequence[float], found: int) -> list[int]:
    """How many of `found` photos each share takes: rounded together, and one at least where there is one for each."""
    ends = np.round(np.cumsum([0, *sizes]) * found).astype(int)  # else three roundings may add up to more
    taken = np.diff(ends).tolist()
    while found >= len(taken) and 0 in taken:
        if sum(taken) == found:
            taken[taken.index(max(taken))] -= 1
        taken[taken.index(0)] += 1
    return taken


def shares(params) -> bool:
    """Whether params ask for shares of each class' photos instead of numbers."""
    return isinstance(params["train"], float)


def tested(params) -> bool:
    """Whether the parts of a cross-validation test, one after the other."""
    return params["parts"] > 0 and params["part_is"] == "test"


def kept(splits: Sequence[str], params) -> Sequence[str]:
    """The splits that folders give; none where all photos are to be dealt into parts, each of which tests once."""
    return [] if tested(params) else splits


def given(of_split: Mapping[str, int], splits: Iterable[str], params) -> dict[str, int]:
    """How many photos each split gets of a class with so many in each of the folders' splits: all. Where `splits`, which folders give of
    any class, has none for validation, its share of the photos to learn from is what params make of theirs."""
    sizes = {split: of_split.get(split, 0) for split in dataset.SPLITS}
    if "validation" not in splits:
        shared = [params[split] / (params["train"] + params["validation"]) for split in ("train", "validation")]
        sizes["train"], sizes["validation"] = parts(shared, sizes["train"] + sizes["validation"])
    return sizes


# Dealing


def split_of_each(params, sizes: Mapping[str, int], found: int) -> list[str]:
    """The split of each of a class' photos, in the order in which they were drawn.

    With `parts` photos are dealt into so many parts: those for training and validation, of which part number `part` validates; or
    with `part_is: test` all of them, of which it tests, the next one validates, and the others train.
    """
    learnt, number = ["train"] * sizes["train"] + ["validation"] * sizes["validation"], params["part"] - 1
    dealt = learnt + ["test"] * sizes["test"]
    rest = [dataset.REST] * (found - len(dealt)) if params["remaining"] else []
    if params["parts"]:
        dealt_into, roles = (dealt, ["test", "validation"]) if tested(params) else (learnt, ["validation"])
        role_of = {(number + place) % params["parts"]: role for place, role in enumerate(roles)}
        ends = [round(len(dealt_into) * part / params["parts"]) for part in range(params["parts"] + 1)]
        for part, (start, end) in enumerate(pairwise(ends)):
            dealt[start:end] = [role_of.get(part, "train")] * (end - start)
    return dealt + rest


def too_few(has: str, sizes: Mapping[str, int]) -> str:
    return (
        f"{has}; {' + '.join(map(str, sizes.values()))} = {sum(sizes.values())} are asked for. Lower subsample.train, "
        "subsample.validation or subsample.test, or give shares of each class, such as 0.6, 0.2 and 0.2."
    )


def deal(
    kind: str, photos: list[tuple[Photo, str]], sizes: dict[str, int], of: int, params, splits: Sequence[str], skipped: Skipped
) -> Iterator[tuple[str, Photo, str]]:
    """Deal a class' usable photos, in the order in which they were drawn, to splits: (split, photo, sha256).

    Parameters
    ----------
    sizes : how many photos params ask for in each split
    of : how many photos the class has, usable or not
    splits : those that folders give; then they are taken as they are

    Raises
    ------
    UserError
        Where they are too few, with what was wrong with the others.
    """
    if splits:
        sizes = given(Counter(photo.split for photo, _ in photos), splits, params)
        groups = {"train": 0, "validation": 0 if params["parts"] else 1, "test": 2}
        photos = sorted(photos, key=lambda photo: groups[photo[0].split])
    wanted = None if splits or shares(params) else sum(sizes.values())
    why = names.counted(Counter(names.brief(reason) for _, reason in skipped))
    has = f"the class {kind} has {len(photos)} usable photos of {of}"
    because = f" Skipped in all classes: {why}; {SKIPPED} lists them." if why else ""
    if wanted and len(photos) < wanted:
        raise UserError(too_few(has, sizes) + because)
    no_parts = params["parts"] > sum(sizes.values()) - (0 if tested(params) else sizes["test"])
    if no_parts or not all(sizes.values()):
        what = "every split to get one" if not all(sizes.values()) else f"{params['parts']} parts"
        would = ", ".join(f"{size} {split}" for split, size in sizes.items())
        raise UserError(f"{has}, too few for {what} ({would}).{because}")
    return ((split, *photo) for split, photo in zip(split_of_each(params, sizes, len(photos)), photos))


# From the archive, or from the list


def wrong(data: bytes) -> str:
    """Why a photo can't be decoded; nothing where it can."""
    try:
        with DECODING:
            images.decode(data, images.LOOK)
    except images.UnreadablePhoto as error:
        return str(error)
    return ""


def copied(base: str, photo: Photo, to: Path) -> tuple[str, str]:
    """Copy a photo that lies elsewhere into a folder: its sha256 and "", or "" and the reason why it can't be used."""
    try:
        data = places.photo(base, photo)
    except places.Unavailable as error:
        return "", str(error)
    if reason := kinds.of(photo.name, data[: kinds.HEAD]) or wrong(data):
        return "", reason
    sha256 = hashlib.sha256(data).hexdigest()
    with files.whole(to / sha256) as file:
        file.write(data)
    return sha256, ""


def sha256_of_each(found: listing.Listing, skipped: Skipped) -> dict[Photo, str]:
    """The photos of an archive with their sha256, no photo twice; `skipped` takes the others. Files with the same bytes are copies only
    if they are photos."""
    digests: list[tuple[Photo, str]] = []
    with progress(sum(found.counts().values()), "photos read") as bar:
        for photo in found.photos:
            try:
                digests.append((photo, hashlib.sha256(found.read(photo)).hexdigest()))
            except archive.Unreadable as error:
                skipped.append((photo.name, str(error)))
            bar.update(1)
    times, alike = Counter(sha256 for _, sha256 in digests), []
    for photo, sha256 in digests:
        if times[sha256] > 1 and (reason := wrong(found.read(photo))):
            skipped.append((photo.name, reason))
        else:
            alike.append((photo, sha256))
    photos, copies, conflicts = distinct(alike)
    skipped += copies + conflicts
    if conflicts:
        print(f"photos in two classes, used in neither: {names.some(name for name, _ in conflicts)}")
    return photos


class Archive:
    """A zip, all of whose photos are read."""

    readers = environment.THREADS

    def __init__(self, note: Mapping, skipped: Skipped) -> None:
        self.listing = listing.of_archive(download.ZIP, note["layout"])
        skipped += [(name, reason) for name, reason in note.get("skipped", [])]
        skipped += [(photo.name, photo.problem) for photo in self.listing.skipped]
        self.listing.check()
        self.splits, self.numbers, self.skipped = self.listing.splits(), self.listing.counts(), skipped

    def rows(self, params) -> dict[str, Iterator[Photo]]:
        """The photos of each class in the order in which they are drawn."""
        self.sha256_of = sha256_of_each(self.listing, self.skipped)
        table = ordered(self.sha256_of, params, self.sha256_of)
        return {kind: of_class(table, kind) for kind in self.numbers}

    def usable(self, photo: Photo) -> tuple[str, str]:
        """A photo's sha256, and the reason why it can't be used, or ""."""
        return self.sha256_of[photo], wrong(self.listing.read(photo))

    def write(self, photo: Photo, sha256: str, target: Path) -> None:
        target.write_bytes(self.listing.read(photo))


class Elsewhere:
    """Photos of a list, of which only those are read that are drawn. Shares are of what the list has; where too few of its photos can be
    used for that, of those that can."""

    readers, folder = places.READERS, dataset.PHOTOS / "drawn"

    def __init__(self, note: Mapping, skipped: Skipped) -> None:
        self.base, self.splits, self.numbers = note["base"], note["splits"], note["counts"]

    def rows(self, params) -> dict[str, Iterator[Photo]]:
        if not (kept(self.splits, params) or shares(params)):
            for kind, count in self.numbers.items():  # before photos are read for nothing
                if count < sum((sizes := counts(params)).values()):
                    raise UserError(too_few(f"the list has {count} photos of the class {kind}", sizes))
        self.folder.mkdir(parents=True)
        table = ordered(listing.read(download.LIST), params)
        return {kind: of_class(table, kind) for kind in self.numbers}

    def usable(self, photo: Photo) -> tuple[str, str]:
        return copied(self.base, photo, self.folder)

    def write(self, photo: Photo, sha256: str, target: Path) -> None:
        (self.folder / sha256).rename(target)


def draw(params, skipped: Skipped, bar) -> list[dataset.Photo]:
    """Write the photos of all splits; returns their manifest. What can't be used goes to `skipped`."""
    note = json.loads(download.NOTE.read_text())
    counts(params)  # before photos are read, whether params make sense
    place = (Elsewhere if download.LIST.exists() else Archive)(note, skipped)
    splits = kept(place.splits, params)
    if place.splits and not splits:
        print("The folders' own splits are set aside: subsample.part_is is test.", flush=True)
    every = splits or params.remaining or (shares(params) and isinstance(place, Archive))
    wanted = {kind: None if every else sum(counts(params, count).values()) for kind, count in place.numbers.items()}
    manifest = []
    for name, photos in fill(place.rows(params), wanted, place.usable, skipped, bar, place.readers).items():
        kind, listed = note["classes"].get(name, name), place.numbers[name]
        sizes = counts(params, listed if len(photos) == wanted[name] else len(photos))
        for split, photo, sha256 in deal(name, photos, sizes, listed, params, splits, skipped):
            file = f"{split}/{kind}/{sha256[:DIGITS]}{names.ending(photo.name)}"
            (dataset.PHOTOS / file).parent.mkdir(parents=True, exist_ok=True)
            place.write(photo, sha256, dataset.PHOTOS / file)
            manifest.append(dataset.Photo(file, kind, split, photo.name, sha256))
    shutil.rmtree(Elsewhere.folder, ignore_errors=True)
    order = dataset.splits(manifest)
    return sorted(manifest, key=lambda photo: (order.index(photo.split), photo.file))


def listed() -> Iterator[Photo]:
    """All photos of a list, by their whole addresses; none where there is an archive."""
    if download.LIST.exists():
        base = json.loads(download.NOTE.read_text())["base"]
        for photo in listing.read(download.LIST):
            yield photo._replace(key=places.joined(base, photo.key))
