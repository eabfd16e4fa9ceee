"""Look a folder of class folders over before a long run. `make check PHOTOS=~/pictures`

    python -m tools.check ~/pictures

Counts and sizes; what can't be read; copies and near-duplicates; photos that look like another class, going by the other
photos of the folder; and how many photos the params ask for. Leaves the folder as it is, and all that it found in
data/check.csv. Exits with status 1 where a run would fail.
"""

import argparse
import hashlib
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages import activations, subsample
from stages.core import environment, params, tables
from stages.core.errors import UserError
from stages.core.progress import progress
from stages.frozen import layers
from stages.photos import archive, dataset, images
from stages.publish import duplicates
from stages.scores import metrics
from tools import command, experiment

CSV = Path("data/check.csv")
SHOWN = 8  # lines of each kind
FOLDS = 5
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}  # of every class, where there are fewer photos than are asked for
FEW = 20  # test photos of a class: at an accuracy of 0.9 the interval goes from 0.70 to 0.97
SIZE = 160  # px, of the photos whose features are compared
SUSPICIOUS = 0.1  # a photo's own class gets less than this by the others
PENALTY = 0.05  # L2, beside the mean loss of a photo: the best of 0.0005 to 5 for 200 and 2,000 photos of cats and dogs


@dataclass(frozen=True)
class Look:
    """What is known of a photo at a first look; `wrong` says why it can't be used."""

    name: str
    kind: str
    wrong: str = ""
    side: int = 0  # the shorter one, px
    sha256: str = ""
    bits: np.uint64 = np.uint64(0)
    thumbnail: np.ndarray | None = None


def look(path: Path, name: str, kind: str) -> Look:
    try:
        data = path.read_bytes()
        image = images.decode(data)
        bits, thumbnail = duplicates.looks(image)
    except OSError as error:
        return Look(name, kind, error.strerror or str(error))
    except images.UnreadablePhoto as error:
        return Look(name, kind, str(error))
    return Look(name, kind, "", min(image.size), hashlib.sha256(data).hexdigest(), bits, thumbnail)


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


def other_class(photos: list[Look], paths: Mapping[str, Path], network: layers.Frozen) -> list[tuple[float, Look, str]]:
    """Photos that by all others look like another class: (probability of the own class, photo, that class), worst first.

    Logistic regression on the pretrained network's features, averaged over the photo, cross-validated: what is said of a
    photo is said without it. `paths` says where a photo of that name lies.
    """
    features = []

    def load(photo: Look) -> np.ndarray:
        pixels = images.square(paths[photo.name].read_bytes(), SIZE)
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
    worst = [number for number in np.argsort(own) if own[number] < SUSPICIOUS]
    return [(float(own[number]), photos[number], classes[probabilities[number].argmax()]) for number in worst]


def what_params_ask(counts: Counter, settings: dict, findings: Findings) -> str | None:
    """Why a run with these params would fail with so many usable photos a class; None if it wouldn't. Prints what a
    test accuracy would mean."""
    asked = {split: settings["subsample"][split] for split in dataset.SPLITS}
    print(f"\nparams.yaml asks for {', '.join(f'{size} {split}' for split, size in asked.items())} photos a class.")
    if len(counts) < 2:
        return "At least two classes are needed: one folder each."
    rarest = min(counts, key=counts.get)
    problem = None
    if not subsample.shares(asked) and counts[rarest] < sum(asked.values()):
        asked = SHARES
        words = " ".join(f"subsample.{split}={share}" for split, share in asked.items())
        problem = f'The class {rarest} has {counts[rarest]}. Ask for shares of every class: make repro ... SET="{words}"'
    sizes = {kind: subsample.counts(asked, count) for kind, count in counts.items()}
    if not all(sizes[rarest].values()):
        return f"The class {rarest} has {counts[rarest]} usable photos: add some."
    tested = sum(of_class["test"] for of_class in sizes.values())
    low, high = metrics.wilson(round(0.9 * tested), tested)
    print(f"With {tested} test photos an accuracy of 0.9 means {low:.2f} to {high:.2f}, by its 95 % interval.")
    few = [(kind, "") for kind, of_class in sizes.items() if of_class["test"] < FEW]
    findings.section(f"classes with fewer than {FEW} test photos, too few to say how well they are told apart", few)
    return problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].partition(" `")[0])
    parser.add_argument("folder", type=Path, help="a folder of class folders")
    folder = parser.parse_args().folder.expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one with a folder of photos for every class.")
    files = archive.photos_in(folder)
    kinds = archive.classes_of([name for name, _ in files], "folder")
    found = [(path, name, kind) for (name, path), kind in zip(files, kinds) if kind]
    if not found:
        raise UserError(f"{folder} has no photos in class folders.")
    paths = {name: path for path, name, _ in found}
    with progress(len(found), "photos") as bar, ThreadPoolExecutor(environment.THREADS) as pool:
        looks = []
        for photo in pool.map(lambda item: look(*item), found):
            looks.append(photo)
            bar.update(1)

    settings = params.load()
    by_digest = defaultdict(list)
    for photo in looks:
        if not photo.wrong:
            by_digest[photo.sha256].append(photo)
    usable = [same[0] for same in by_digest.values()]
    counts = Counter(photo.kind for photo in usable)
    print(f"{len(counts)} classes, {len(looks)} photos, {len(usable)} of them usable")
    for kind in sorted({photo.kind for photo in looks}):
        sides = [photo.side for photo in usable if photo.kind == kind]
        size = f"shorter side {min(sides)} to {max(sides)} px, mostly about {np.median(sides):.0f}" if sides else "none usable"
        print(f"  {kind}: {counts[kind]}, {size}")
    findings = Findings()
    findings.section("can't be used", [(photo.name, photo.wrong) for photo in looks if photo.wrong])
    copies = [(same[0].name, " = ".join(photo.name for photo in same[1:])) for same in by_digest.values() if len(same) > 1]
    findings.section("copies, of which the first counts", copies, " = ")
    if usable:
        hashes, thumbnails = np.array([p.bits for p in usable]), np.array([p.thumbnail for p in usable])
        alike = [(usable[one], usable[other]) for _, one, other in duplicates.pairs(hashes, thumbnails)]
        across = [(one.name, other.name) for one, other in alike if one.kind != other.kind]
        findings.section("near-duplicates in different classes, one of them wrong", across, " ~ ")
        findings.section("near-duplicates in one class", [(a.name, b.name) for a, b in alike if a.kind == b.kind], " ~ ")
    if len(counts) > 1 and min(counts.values()) >= FOLDS:
        words = [sys.executable, "-m", "dvc", "repro", "-q", "pretrained"]
        if subprocess.run(words, env=experiment.environment()).returncode:
            print("\nThe labels were not checked, since that needs these weights.")
        else:
            doubtful = other_class(usable, paths, layers.Frozen(activations.WEIGHTS, settings["backbone"], []))
            findings.section("labels to look at", [(photo.name, f"looks like {kind}") for _, photo, kind in doubtful], " ")
    problem = what_params_ask(counts, settings, findings)
    tables.write(CSV, ["finding", "name", "what"], findings.rows)
    print(f"\n{CSV} has all of it: {len(findings.rows)} rows.")
    if problem:
        sys.exit(problem)


if __name__ == "__main__":
    command.start(main)
