"""Look a folder of class folders, or a zip of it, over before a long run. `make check PHOTOS=~/pictures`

    python -m tools.check ~/pictures

Counts and sizes; what can't be read, and what has next to no contrast; copies and near-duplicates; photos that look like another
class, going by the other photos of the folder; and how many photos the params ask for. Leaves the folder as it is, and all that
it found in data/check.csv. Exits with status 1 where a run would fail.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from littledata.core import command, environment, params, tables
from littledata.core.errors import UserError
from littledata.core.progress import progress
from littledata.features import layers, views
from littledata.photos import archive, listing, lists
from littledata.photos.photo import Photo
from littledata.pictures import deep, images
from littledata.scores import metrics
from littledata.splits import dataset, draw, duplicates
from tools import experiment, plan

CSV = Path("data/check.csv")
SHOWN = 8  # lines of each kind
FOLDS = 5
FEW = 20  # test photos of a class: at an accuracy of 0.9 the interval goes from 0.70 to 0.97
CONTRAST = 8  # levels of 255; with fewer a picture looks like one plain colour
SIZE = 160  # px, of the photos whose features are compared
SUSPICIOUS = 0.1  # a photo's own class gets less than this by the others, and another one more than half
PENALTY = 0.05  # L2, beside the mean loss of a photo: the best of 0.0005 to 5 for 200 and 2,000 photos of cats and dogs


@dataclass(frozen=True)
class Look:
    """What is known of a photo at a first look; `wrong` says why it can't be used."""

    photo: Photo
    wrong: str = ""
    side: int = 0  # the shorter one, px
    spread: int = 0  # levels of 255, from the darkest to the brightest of nearly all its pixels
    extent: deep.Extent | None = None  # of a picture of more than 8 bits
    sha256: str = ""
    bits: np.uint64 = np.uint64(0)
    thumbnail: np.ndarray | None = None

    @property
    def name(self) -> str:
        return self.photo.name

    @property
    def kind(self) -> str:
        return self.photo.kind


def look(photo: Photo, listed: listing.Listing, depth: deep.Depth = deep.UNKNOWN) -> Look:
    try:
        data = listed.read(photo)
        image = images.decode(data, images.LOOK, depth)
        bits, thumbnail = duplicates.looks(image)
        side, extent = min(images.sides(data)), images.extent(data)
    except (archive.Unreadable, images.UnreadablePhoto) as error:
        return Look(photo, str(error))
    return Look(photo, "", side, spread(image), extent, hashlib.sha256(data).hexdigest(), bits, thumbnail)


def look_at_all(listed: listing.Listing) -> tuple[list[Look], deep.Depth]:
    """A look at each photo, and what is black and white in those of more than 8 bits.

    Those are looked at twice: how bright a picture is only all of them together say.
    """
    with progress(len(listed.photos), "photos") as bar, ThreadPoolExecutor(environment.THREADS) as pool:

        def at(photos: Sequence[Photo], depth: deep.Depth) -> list[Look]:
            looks = []
            for photo in pool.map(lambda photo: look(photo, listed, depth), photos):
                looks.append(photo)
                bar.update(1)
            return looks

        looks = at(listed.photos, deep.UNKNOWN)
        depth = deep.depth_of(photo.extent for photo in looks)
        numbers = [number for number, photo in enumerate(looks) if photo.extent]
        bar.total += len(numbers)
        for number, photo in zip(numbers, at([listed.photos[number] for number in numbers], depth)):
            looks[number] = photo
    return looks, depth


def spread(image: Image.Image) -> int:
    """How many levels of 255 lie between the 1 % darkest and the 1 % brightest values of a picture, in the channel in which there
    are most."""
    darkest, brightest = np.percentile(np.asarray(image).reshape(-1, 3), (1, 99), axis=0, method="nearest")
    return int((brightest - darkest).max())


class Findings:
    """What is worth a look: the first of each kind is printed, all of it goes to data/check.csv."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def section(self, title: str, found: Sequence[tuple[str, str]], between: str = ": ") -> None:
        """Print a heading with a count and the first of what was found: (photo or class, what there is to say of it)."""
        if not found:
            return
        print(f"\n{title}: {len(found)}")
        print(*(f"  {name}{between if what else ''}{what}" for name, what in found[:SHOWN]), sep="\n")
        if len(found) > SHOWN:
            print(f"  ... and {len(found) - SHOWN} more in {CSV}")
        self.rows += [(title, name, what) for name, what in found]


def other_class(
    photos: list[Look], listed: listing.Listing, network: layers.Frozen, depth: deep.Depth
) -> list[tuple[float, Look, str]]:
    """Photos that by all others look like another class: (probability of the own class, photo, that class), worst first.

    Logistic regression on the pretrained network's features, averaged over the photo, cross-validated: what is said of a
    photo is said without it.
    """
    features = []

    def load(photo: Look) -> np.ndarray:
        pixels = images.square(listed.read(photo.photo), SIZE, depth=depth)
        return network.preprocess(pixels[None], "imagenet")

    with progress(len(photos), "labels") as bar:
        for some in network.outputs(photos, load):
            features += list(some.mean((1, 2)))
            bar.update(len(some))
    classes = sorted({photo.kind for photo in photos})
    labels = np.array([classes.index(photo.kind) for photo in photos])
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=1 / (PENALTY * len(photos)), max_iter=1000, class_weight="balanced")
    )
    probabilities = cross_val_predict(model, np.array(features), labels, cv=FOLDS, method="predict_proba")
    own = probabilities[np.arange(len(labels)), labels]
    worst = [number for number in np.argsort(own) if own[number] < SUSPICIOUS and probabilities[number].max() > 0.5]
    return [(float(own[number]), photos[number], classes[probabilities[number].argmax()]) for number in worst]


def what_params_ask(usable: list[Look], settings: dict, findings: Findings) -> str | None:
    """Why a run with these params would fail with these photos; None if it wouldn't. Prints what a test accuracy would mean."""
    counts, asked = Counter(photo.kind for photo in usable), settings["subsample"]
    rarest = min(counts, key=counts.get)
    if usable[0].photo.split:
        of_split = Counter((photo.kind, photo.photo.split) for photo in usable)
        sizes = {kind: {split: of_split[kind, split] for split in dataset.SPLITS} for kind in counts}
        print("\nSplits are the folders' own, whatever params.yaml asks for.")
        given = {photo.photo.split for photo in usable}
        if lacking := [kind for kind, of_class in sizes.items() if not all(of_class[split] for split in given)]:
            return f"The class {lacking[0]} has no usable photo in one of the splits: add some."
    else:
        print(f"\nparams.yaml asks for {', '.join(f'{asked[split]} {split}' for split in dataset.SPLITS)} photos a class.")
        taken = plan.met(asked, counts[rarest])
        if taken is not asked:
            print(f"The class {rarest} has {counts[rarest]}, so make repro takes shares of every class: {plan.words(taken)}")
        sizes = {kind: draw.counts(taken, count) for kind, count in counts.items()}
        if not all(sizes[rarest].values()):
            return f"The class {rarest} has {counts[rarest]} usable photos, and each class needs three or more: add some."
    tested = sum(of_class["test"] for of_class in sizes.values())
    low, high = metrics.wilson(round(0.9 * tested), tested)
    print(f"With {tested} test photos an accuracy of 0.9 means {low:.2f} to {high:.2f}, by its 95 % interval.")
    few = [(kind, "") for kind, of_class in sizes.items() if of_class["test"] < FEW]
    findings.section(f"classes with fewer than {FEW} test photos, too few to say how well they are told apart", few)
    return None


def say_of_classes(looks: list[Look], usable: list[Look]) -> None:
    counts = Counter(photo.kind for photo in usable)
    print(f"{len(counts)} classes, {len(looks)} photos, {len(usable)} of them usable")
    for kind in sorted({photo.kind for photo in looks}):
        sides = [photo.side for photo in usable if photo.kind == kind]
        size = f"shorter side {min(sides)} to {max(sides)} px, mostly about {np.median(sides):.0f}" if sides else "none usable"
        print(f"  {kind}: {counts[kind]}, {size}")


def say_of_looks(usable: list[Look], findings: Findings) -> None:
    hashes, thumbnails = np.array([p.bits for p in usable]), np.array([p.thumbnail for p in usable])
    alike = [(usable[one], usable[other]) for _, one, other in duplicates.pairs(hashes, thumbnails)]
    across = [(one.name, other.name) for one, other in alike if one.kind != other.kind]
    findings.section("near-duplicates in different classes, one of them wrong", across, " ~ ")
    findings.section("near-duplicates in one class", [(a.name, b.name) for a, b in alike if a.kind == b.kind], " ~ ")


def check(listed: listing.Listing) -> str | None:
    """Say all that is to say of a folder or zip; returns why a run would fail, or None."""
    settings, findings = params.load(), Findings()
    looks, depth = look_at_all(listed)
    by_photo = {id(photo.photo): photo for photo in looks}
    kept, copies, conflicts = draw.distinct((photo.photo, photo.sha256) for photo in looks if not photo.wrong)
    usable = [by_photo[id(photo)] for photo in kept]
    say_of_classes(looks, usable)
    print(*listed.lines(), sep="\n", end="\n" if listed.lines() else "")
    wrong = [(photo.name, photo.problem) for photo in listed.skipped] + [
        (photo.name, photo.wrong) for photo in looks if photo.wrong
    ]
    findings.section("can't be used", wrong)
    flat = [photo for photo in usable if photo.spread < CONTRAST]
    findings.section("next to no contrast", [(p.name, f"nearly all of it within {p.spread + 1} of 256 shades") for p in flat])
    findings.section("in two classes, used in neither", [(name, what.partition("bytes as ")[2]) for name, what in conflicts], " = ")
    findings.section("copies, of which one counts", [(name, what.partition("bytes as ")[2]) for name, what in copies], " = ")
    counts, problem = Counter(photo.kind for photo in usable), None
    if usable:
        say_of_looks(usable, findings)
    if len(counts) > 1 and min(counts.values()) >= FOLDS:
        words = [sys.executable, "-m", "dvc", "repro", "-q", "pretrained"]
        if subprocess.run(words, env=experiment.environment()).returncode:
            print("\nThe labels were not checked: that needs the network's weights, and no other run beside it.")
        else:
            network = layers.Frozen(views.WEIGHTS, settings["backbone"], [])
            doubtful = other_class(usable, listed, network, depth)
            findings.section("labels to look at", [(photo.name, f"looks like {kind}") for _, photo, kind in doubtful], " ")
    if bare := sorted(listed.counts().keys() - counts.keys()):
        problem = f"The class {bare[0]} has 0 usable photos: add some."
    elif usable:
        problem = what_params_ask(usable, settings, findings)
    tables.write(CSV, ["finding", "name", "what"], findings.rows)
    print(f"\n{CSV} has all of it: {len(findings.rows)} rows.")
    try:
        listed.check()
    except UserError as error:
        problem = str(error)
    return problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].partition(" `")[0])
    parser.add_argument("folder", help="a folder of class folders, or a zip of it")
    asked = parser.parse_args().folder
    if "://" in asked or asked.lower().endswith(lists.ENDINGS):
        raise UserError(
            f"{asked}: make check reads every photo of a folder or a zip. Photos of a bucket or a list are looked at when they are drawn: "
            "make repro lists what can't be used in data/skipped.csv."
        )
    folder = Path(os.path.expanduser(asked))
    if not folder.exists():
        raise UserError(f"There is no folder {folder}: name one with a folder of photos for every class, or a zip of it.")
    with listing.of_archive(folder) as listed:
        if not listed.photos:
            listed.check()
        if problem := check(listed):
            sys.exit(problem)


if __name__ == "__main__":
    command.start(main)
