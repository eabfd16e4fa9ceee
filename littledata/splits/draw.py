"""Draw the photos of each split from the archive, or from the list of what lies elsewhere, and say which.

    dvc exp run -S subsample.seed=2                   # another draw
    dvc exp run -S subsample.order=archive            # the blog's: the first 1000 train, the next 400 validate
    dvc exp run -S subsample.parts=5 -S subsample.part=2       # the second part of five validates, the others train
    dvc exp run -S subsample.parts=5 -S subsample.part=2 -S subsample.part_is=test      # it tests, the third validates
    dvc exp run -S subsample.train=0.6 -S subsample.validation=0.2 -S subsample.test=0.2      # shares of every class

Writes data/photos/<split>/<class>/, data/manifest.csv, data/skipped.csv and data/depth.json, the range of training photos of
more than 8 bits; and data/listed.csv, all photos of a list, drawn or not, by their whole addresses. A photo's place in the draw
and its file's name come from its own digest and the seed, so that one photo more or less moves hardly another one. All photos of
the archive are read; decoded are as many as are needed. A photo that can't be used is skipped and listed, and the next one takes
its place; so is a copy of another one. A photo that is in two classes is not used in either. Where folders give splits, all their
photos are taken as they stand.
"""

import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from littledata.core.errors import UserError
from littledata.core.progress import progress
from littledata.photos import archive, listing, names
from littledata.photos.places import Photo, joined
from littledata.pictures import images
from littledata.splits import dataset, drawing

RAW = Path("data/raw")
NOTE = RAW / "source.json"
LIST = RAW / "photos.csv"  # of photos that lie elsewhere, in place of the archive
LISTED = Path("data/listed.csv")
SKIPPED = Path("data/skipped.csv")
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}  # of every class, where it has fewer photos than are asked for
DIGITS = 16  # of a photo's sha256, in its file's name
Skipped = list[tuple[str, str]]  # name in the archive, reason


def distinct(found: Iterable[tuple[archive.Found, str]]) -> tuple[list[tuple[archive.Found, str]], Skipped, Skipped]:
    """Tell photos, each with its sha256, from copies: (photos to use, copies of them, photos that are in two classes).

    Of copies in one class the first counts; where folders give splits, the first in the last split, which nothing is to be
    learnt from.
    """
    same = defaultdict(list)
    for photo, sha256 in found:
        same[sha256].append(photo)
    kept, copies, conflicts = [], [], []
    for sha256, photos in same.items():
        if len({photo.kind for photo in photos}) > 1:
            for photo in photos:
                other = next(other for other in photos if other.kind != photo.kind)
                conflicts.append((photo.name, f"in two classes: the same bytes as {other.name}"))
            continue
        first = max(photos, key=lambda photo: dataset.SPLITS.index(photo.split) if photo.split else 0)
        kept.append((first, sha256))
        for photo in photos:
            if photo is not first:
                what = "a copy" if photo.split == first.split else f"a copy in {photo.split} of a photo in {first.split}"
                copies.append((photo.name, f"{what}: the same bytes as {first.name}"))
    return kept, copies, conflicts


def in_order(photos: list[tuple[archive.Found, str]], params: Mapping) -> list[tuple[archive.Found, str]]:
    """A class' photos in the order in which they are drawn: by seed and digest alone, or as in the archive."""
    if params["order"] == "archive":
        return photos
    return sorted(photos, key=lambda photo: hashlib.sha256(f"{params['seed']} {photo[1]}".encode()).digest())


def order(params: Mapping) -> Callable[[int, Photo], bytes]:
    """What photos of a list are ordered by: seed and name, since the bytes of those that are not drawn are not known; or their number
    in the list."""
    if params["order"] == "archive":
        return lambda number, photo: number.to_bytes(8)
    start = f"{params['seed']} ".encode()
    return lambda number, photo: hashlib.sha256(start + os.fsencode(photo.key)).digest()


def read(found: archive.Listing, skipped: Skipped) -> Iterator[tuple[archive.Found, str]]:
    """All photos of an archive, each with its sha256; those that can't be read go to `skipped`."""
    with progress(len(found.photos), "photos read") as bar:
        for photo in found.photos:
            try:
                yield photo, hashlib.sha256(found.read(photo)).hexdigest()
            except archive.Unreadable as error:
                skipped.append((photo.name, str(error)))
            bar.update(1)


def wrong(found: archive.Listing, photo: archive.Found) -> str:
    """Why a photo can't be decoded; nothing where it can."""
    try:
        images.decode(found.read(photo), images.LOOK)
    except (images.UnreadablePhoto, archive.Unreadable) as error:
        return str(error)
    return ""


def usable(found: archive.Listing, photos: Iterable[tuple[archive.Found, str]], skipped: Skipped, bar) -> Iterator:
    """Those of `photos` that can be decoded; the others go to `skipped`."""
    for photo, sha256 in photos:
        bar.update(1)
        if reason := wrong(found, photo):
            skipped.append((photo.name, reason))
        else:
            yield photo, sha256


def to_draw_from(found: archive.Listing, skipped: Skipped, bar) -> dict[str, list[tuple[archive.Found, str]]]:
    """The photos of every class with their sha256, no photo twice; `skipped` takes the others. Files with the same bytes are
    copies only if they are photos."""
    every = list(read(found, skipped))
    times = Counter(sha256 for _, sha256 in every)
    kept, copies, conflicts = distinct(
        photo for photo in every if times[photo[1]] == 1 or list(usable(found, [photo], skipped, bar))
    )
    skipped += copies + conflicts
    if conflicts:
        print(f"photos in two classes, used in neither: {names.some(name for name, _ in conflicts)}")
    of_class: dict[str, list] = {kind: [] for kind in found.counts()}
    for photo, sha256 in kept:
        of_class[photo.kind].append((photo, sha256))
    return of_class


def counts(params: Mapping, found: int | None = None) -> dict[str, int]:
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


def shares(params: Mapping) -> bool:
    """Whether params ask for shares of each class' photos instead of numbers."""
    return isinstance(params["train"], float)


def tested(params: Mapping) -> bool:
    """Whether the parts of a cross-validation test, one after the other."""
    return params["parts"] > 0 and params["part_is"] == "test"


def places(params: Mapping, sizes: Mapping[str, int], found: int) -> list[str]:
    """The split of each of a class' photos, in the order in which they were drawn.

    With `parts` photos are dealt into so many parts: those for training and validation, of which part number `part` validates; or
    with `part_is: test` all of them, of which it tests, the next one validates, and the others train.
    """
    learnt, number = ["train"] * sizes["train"] + ["validation"] * sizes["validation"], params["part"] - 1
    dealt = learnt + ["test"] * sizes["test"]
    rest = [dataset.REST] * (found - len(dealt)) if params["remaining"] else []
    if params["parts"]:
        folded, roles = (dealt, ["test", "validation"]) if tested(params) else (learnt, ["validation"])
        role_of = {(number + place) % params["parts"]: role for place, role in enumerate(roles)}
        ends = [round(len(folded) * part / params["parts"]) for part in range(params["parts"] + 1)]
        for part, (start, end) in enumerate(pairwise(ends)):
            dealt[start:end] = [role_of.get(part, "train")] * (end - start)
    return dealt + rest


def given(
    photos: list[tuple[archive.Found, str]], splits: set[str], params: Mapping
) -> tuple[list[tuple[archive.Found, str]], dict[str, int]]:
    """A class' photos by the splits that its folders give, and how many each split gets: all of it. Where `splits`, which folders
    give of any class, has none for validation, its share of the photos to learn from is what params make of theirs."""
    of = {split: [photo for photo in photos if photo[0].split == split] for split in dataset.SPLITS}
    learnt = [photo for photo in photos if photo[0].split != "test"] if params["parts"] else of["train"] + of["validation"]
    sizes = {split: len(of_split) for split, of_split in of.items()}
    if "validation" not in splits:
        shared = [params[split] / (params["train"] + params["validation"]) for split in ("train", "validation")]
        sizes["train"], sizes["validation"] = parts(shared, len(learnt))
    return learnt + of["test"], sizes


def kept(splits: Sequence[str], params: Mapping) -> Sequence[str]:
    """The splits that folders give; none where all photos are to be dealt into parts, each of which tests once."""
    return [] if tested(params) else splits


def too_few(has: str, sizes: Mapping[str, int]) -> str:
    return (
        f"{has}; {' + '.join(map(str, sizes.values()))} = {sum(sizes.values())} are asked for. Lower subsample.train, "
        "subsample.validation or subsample.test, or give shares of each class, such as 0.6, 0.2 and 0.2."
    )


def dealt(
    kind: str, right: list, sizes: dict[str, int], of: int, params: Mapping, splits: Sequence[str], skipped: Skipped
) -> Iterator:
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
        right, sizes = given(right, set(splits), params)
    wanted = None if splits or shares(params) else sum(sizes.values())
    why = archive.counted(Counter(archive.brief(reason) for _, reason in skipped))
    has = f"the class {kind} has {len(right)} usable photos of {of}"
    because = f" Skipped in all classes: {why}; {SKIPPED} lists them." if why else ""
    if wanted and len(right) < wanted:
        raise UserError(too_few(has, sizes) + because)
    would = ", ".join(f"{size} {split}" for split, size in sizes.items())
    if not all(sizes.values()):
        raise UserError(f"{has}, too few for every split to get one ({would}).{because}")
    if params["parts"] > sum(sizes.values()) - (0 if tested(params) else sizes["test"]):
        raise UserError(f"{has}, too few for {params['folds']} folds ({would}).{because}")
    return ((split, *photo) for split, photo in zip(places(params, sizes, len(right)), right))


def from_archive(source: Mapping, params: Mapping, skipped: Skipped, bar) -> Iterator[tuple]:
    """Draw from a zip, all of whose photos are read: (class, split, photo, sha256, what writes it to a path)."""
    with archive.listing(RAW / "photos.zip", source["layout"]) as found:
        skipped += [(name, reason) for name, reason in source.get("skipped", [])] + found.skipped
        found.check()
        splits = kept(found.splits(), params)
        most = None if splits or shares(params) or params["remaining"] else sum(counts(params).values())
        for kind, photos in to_draw_from(found, skipped, bar).items():
            right = list(islice(usable(found, in_order(photos, params), skipped, bar), most))
            sizes = counts(params, len(right))
            for split, photo, sha256 in dealt(kind, right, sizes, found.counts()[kind], params, splits, skipped):
                yield kind, split, photo, sha256, lambda path, photo=photo: path.write_bytes(found.read(photo))


def from_list(source: Mapping, params: Mapping, skipped: Skipped, bar) -> Iterator[tuple]:
    """As `from_archive`, from a list of photos that lie elsewhere: only those that are drawn are read. Shares are of what the list
    has; where too few of its photos can be used for that, of those that can."""
    here, there, splits = dataset.PHOTOS / "drawn", source["counts"], kept(source["splits"], params)
    sizes = {kind: counts(params, count) for kind, count in there.items()}
    most = {kind: None if splits or params["remaining"] else sum(of_class.values()) for kind, of_class in sizes.items()}
    if not (splits or shares(params)):
        for kind, count in there.items():  # before photos are read for nothing
            if count < sum(sizes[kind].values()):
                raise UserError(too_few(f"the list has {count} photos of the class {kind}", sizes[kind]))
    drawn = drawing.draw(listing.read(LIST), source["base"], order(params), most, here, skipped, bar)
    for kind, right in drawn.items():
        of_class = sizes[kind] if len(right) == most[kind] else counts(params, len(right))
        for split, photo, sha256 in dealt(kind, right, of_class, there[kind], params, splits, skipped):
            yield kind, split, photo, sha256, (here / sha256).rename
    shutil.rmtree(here)


def draw(params, skipped: Skipped, bar) -> list[dataset.Photo]:
    """Write the photos of all splits; returns their manifest. What can't be used goes to `skipped`."""
    source = json.loads(NOTE.read_text())
    counts(params)  # before photos are read, whether params make sense
    if source.get("splits") and not kept(source["splits"], params):
        print("The folders' own splits are set aside: subsample.part_is is test.", flush=True)
    manifest = []
    draw_from = from_list if LIST.exists() else from_archive
    for name, split, photo, sha256, write in draw_from(source, params, skipped, bar):
        kind = source["classes"].get(name, name)
        file = f"{split}/{kind}/{sha256[:DIGITS]}{names.ending(photo.name)}"
        target = dataset.PHOTOS / file
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target)
        manifest.append(dataset.Photo(file, kind, split, photo.name, sha256))
    splits = dataset.splits(manifest)
    return sorted(manifest, key=lambda photo: (splits.index(photo.split), photo.file))


def listed() -> Iterator[Photo]:
    """All photos of a list; none where there is an archive."""
    if LIST.exists():
        base = json.loads(NOTE.read_text())["base"]
        for photo in listing.read(LIST):
            yield photo._replace(key=joined(base, photo.key))
