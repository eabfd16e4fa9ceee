"""Draw the photos of each split from the archive, and say which.

    dvc exp run -S subsample.seed=2                   # another draw
    dvc exp run -S subsample.order=archive            # the blog's: the first 1000 train, the next 400 validate
    dvc exp run -S subsample.folds=5 -S subsample.fold=2       # the second part of five validates, the others train
    dvc exp run -S subsample.train=0.6 -S subsample.validation=0.2 -S subsample.test=0.2      # shares of every class

Writes data/photos/<split>/<class>/, data/manifest.csv, data/skipped.csv and data/depth.json, the range of training photos of
more than 8 bits. The archive is read in place, as far
as is needed. A photo that can't be used is skipped and listed, and the next one takes its place. A photo whose
bytes were drawn before is skipped too, so that no photo is in two splits.
"""

import csv
import hashlib
import json
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from stages.core import stage
from stages.core.errors import UserError
from stages.core.progress import progress
from stages.photos import archive, dataset, images
from stages.photos.decoding import deep

RAW = Path("data/raw")
SKIPPED = Path("data/skipped.csv")


def usable(photos: zipfile.ZipFile, entries: list[zipfile.ZipInfo], seen: dict, skipped: list) -> Iterator:
    """The usable photos among `entries`, as (entry, sha256); the others go to `skipped`."""
    for entry in entries:
        try:
            if entry.file_size > archive.MAX_PHOTO_BYTES:
                raise images.UnreadablePhoto(f"absurdly large: {entry.file_size / 1e6:.0f} MB")
            data = photos.read(entry)
            images.decode(data, images.LOOK)
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 in seen:
                raise images.UnreadablePhoto(f"the same bytes as {seen[sha256]}")
        except (images.UnreadablePhoto, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
            skipped.append((entry.filename, str(error)))
            continue
        seen[sha256] = entry.filename
        yield entry, sha256


def counts(params: Mapping, found: int | None = None) -> dict[str, int]:
    """How many photos of a class each split takes, from a class of `found` usable ones where params ask for shares.

    Raises
    ------
    UserError
        Where numbers and shares are mixed, shares add up to more than 1, or `found` is too few for every split to have
        a photo.
    """
    asked = {split: params[split] for split in dataset.SPLITS}
    words = "subsample.train, subsample.validation and subsample.test"
    if len({type(value) for value in asked.values()}) > 1:
        raise UserError(f"{words} are {', '.join(map(str, asked.values()))}: give three numbers, or three shares.")
    if not shares(params):
        return asked
    if sum(asked.values()) > 1 + 1e-9:
        raise UserError(f"{words} are shares that add up to {sum(asked.values()):g}: 1 at most.")
    ends = np.round(np.cumsum([0, *asked.values()]) * (found or 0)).astype(int)  # else three roundings may add up to more
    return dict(zip(asked, np.diff(ends).tolist()))


def shares(params: Mapping) -> bool:
    """Whether params ask for shares of each class' photos instead of numbers."""
    return isinstance(params["train"], float)


def places(params: Mapping, sizes: Mapping[str, int], found: int) -> list[str]:
    """The split of each of a class' photos, in the order in which they were drawn.

    With `folds` those for training and validation are dealt out like cards: every `folds`-th one validates, from number
    `fold` on.
    """
    chosen, folds, fold = sizes["train"] + sizes["validation"], params["folds"], params["fold"]
    if folds:
        dealt = ["validation" if number % folds == fold - 1 else "train" for number in range(chosen)]
    else:
        dealt = ["train"] * sizes["train"] + ["validation"] * sizes["validation"]
    rest = found - chosen - sizes["test"] if params["rest"] else 0
    return dealt + ["test"] * sizes["test"] + [dataset.REST] * rest


def draw(params, bar) -> tuple[list[dataset.Photo], list]:
    """Write the photos of all splits; returns their manifest and what was skipped."""
    source = json.loads((RAW / "source.json").read_text())
    wanted = None if shares(params) else sum(counts(params).values())
    most = None if params["rest"] else wanted
    manifest, seen, skipped = [], {}, []
    with archive.open_zip(RAW / "photos.zip") as photos:
        classes = archive.by_class(photos, source["layout"])
        if len(classes) < 2:
            raise UserError(f"the archive holds one class ({', '.join(classes)}): at least two are needed.")
        for name, entries in classes.items():
            kind = source["classes"].get(name, name)
            if params["order"] == "random":
                # Seeded by the class too: its draw does not depend on which other classes there are.
                rng = np.random.default_rng([params["seed"], *kind.encode()])
                entries = [entries[i] for i in rng.permutation(len(entries))]
            found = []
            for photo in islice(usable(photos, entries, seen, skipped), most):
                found.append(photo)
                bar.update(1)
            sizes = counts(params, len(found))
            if wanted and len(found) < wanted:
                raise UserError(
                    f"the class {kind} has {len(found)} usable photos of {len(entries)}; "
                    f"{' + '.join(map(str, sizes.values()))} = {wanted} are asked for. Lower subsample.train, "
                    "subsample.validation or subsample.test, or give shares of each class, such as 0.6, 0.2 and 0.2."
                )
            if not all(sizes.values()) or params["folds"] > sizes["train"] + sizes["validation"]:
                raise UserError(
                    f"the class {kind} has {len(found)} usable photos of {len(entries)}, too few for every split to get one."
                )
            numbers = Counter()
            for split, (entry, sha256) in zip(places(params, sizes, len(found)), found):
                file = f"{split}/{kind}/{numbers[split]:05d}{PurePosixPath(entry.filename).suffix.lower()}"
                numbers[split] += 1
                target = dataset.PHOTOS / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(photos.read(entry))
                manifest.append(dataset.Photo(file, kind, split, entry.filename, sha256))
    order = dataset.splits(manifest)
    manifest.sort(key=lambda photo: (order.index(photo.split), photo.file))
    return manifest, skipped


def main(params) -> None:
    params = params["subsample"]
    try:
        with progress(None, "photos drawn") as bar:
            manifest, skipped = draw(params, bar)
    except BaseException:
        shutil.rmtree(dataset.PHOTOS, ignore_errors=True)  # a half-drawn set must not look like a whole one
        raise
    dataset.write_manifest(manifest)
    deep.write(deep.depth_of(images.extent(photo.path.read_bytes()) for photo in dataset.of_split(manifest, "train")))
    with open(SKIPPED, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("file", "reason"), *skipped])
    print(f"{len(manifest)} photos, {len(skipped)} skipped (listed in {SKIPPED})")


if __name__ == "__main__":
    stage.run("subsample", main)
