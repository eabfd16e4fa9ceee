"""Look a folder of class folders, or a zip of it, over before a long run. `make check PHOTOS=~/pictures`

    python -m tools.check ~/pictures

Counts and sizes; what can't be read, and what has next to no contrast; copies and near-duplicates; photos that look like another
class, going by the other photos of the folder; and how many photos the params ask for. Leaves the folder as it is, and all that
it found in data/check.csv. Exits with status 1 where a run would fail.
"""

import argparse
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from littledata.core import command, params, tables
from littledata.core.errors import UserError
from littledata.features import labels, layers, views
from littledata.photos import listing, lists
from littledata.scores import metrics
from littledata.splits import dataset, draw, duplicates, looks
from tools import experiment, plan

CSV = Path("data/check.csv")
SHOWN = 8  # lines of each kind
FEW = 20  # test photos of a class: at an accuracy of 0.9 the interval goes from 0.70 to 0.97
CONTRAST = 8  # levels of 255; with fewer a picture looks like one plain colour


class Findings(list[tuple[str, str, str]]):
    """What is worth a look: the first of each kind is printed, all of it goes to data/check.csv."""

    def section(self, title: str, found: Sequence[tuple[str, str]], between: str = ": ") -> None:
        """Print a heading with a count and the first of what was found: (photo or class, what there is to say of it)."""
        if not found:
            return
        print(f"\n{title}: {len(found)}")
        print(*(f"  {name}{between if what else ''}{what}" for name, what in found[:SHOWN]), sep="\n")
        if len(found) > SHOWN:
            print(f"  ... and {len(found) - SHOWN} more in {CSV}")
        self += [(title, name, what) for name, what in found]


def split_sizes(of_split: Mapping[str, Mapping[str, int]], settings: Mapping) -> tuple[dict[str, dict[str, int]], str]:
    """How many photos each split gets of each class, of usable ones by class and by the split that folders give; and why a run with
    these params would fail, or "". Prints what the params ask for."""
    asked, counts = settings["subsample"], {kind: sum(of_class.values()) for kind, of_class in of_split.items()}
    if splits := {split for of_class in of_split.values() for split in of_class if split}:
        print("\nSplits are the folders' own, whatever params.yaml asks for.")
        lacking = [kind for kind, of_class in of_split.items() if not splits <= of_class.keys()]
        sizes = {kind: {split: of_class.get(split, 0) for split in dataset.SPLITS} for kind, of_class in of_split.items()}
        return sizes, f"The class {lacking[0]} has no usable photo in one of the splits: add some." if lacking else ""
    rarest = min(counts, key=counts.get)
    print(f"\nparams.yaml asks for {', '.join(f'{asked[split]} {split}' for split in dataset.SPLITS)} photos a class.")
    taken = plan.met(asked, counts[rarest])
    if taken is not asked:
        print(f"The class {rarest} has {counts[rarest]}, so make repro takes shares of every class: {plan.words(taken)}")
    sizes = {kind: draw.counts(taken, count) for kind, count in counts.items()}
    few = f"The class {rarest} has {counts[rarest]} usable photos, and each class needs three or more: add some."
    return sizes, "" if all(sizes[rarest].values()) else few


def say_of_classes(seen: Sequence[looks.Look], usable: Sequence[looks.Look]) -> None:
    sides = {kind: [look.side for look in usable if look.photo.kind == kind] for kind in sorted({look.photo.kind for look in seen})}
    print(f"{sum(map(bool, sides.values()))} classes, {len(seen)} photos, {len(usable)} of them usable")
    for kind, px in sides.items():
        size = f"shorter side {min(px)} to {max(px)} px, mostly about {np.median(px):.0f}" if px else "none usable"
        print(f"  {kind}: {len(px)}, {size}")


def check(listed: listing.Listing) -> str:
    """Say all that is to say of a folder or zip; returns why a run would fail, or ""."""
    settings, findings = params.load().model_dump(), Findings()
    seen, depth = looks.at_all(listed)
    kept, copies, conflicts = draw.distinct((look.photo, look.sha256) for look in seen if not look.photo.problem)
    look_of = {look.photo: look for look in seen}
    usable = [look_of[photo] for photo in kept]
    say_of_classes(seen, usable)
    print(*listed.lines(), sep="\n", end="\n" if listed.lines() else "")
    unusable = [*listed.skipped, *(look.photo for look in seen if look.photo.problem)]
    findings.section("can't be used", [(photo.name, photo.problem) for photo in unusable])
    flat = [(look.photo.name, look.spread + 1) for look in usable if look.spread < CONTRAST]
    findings.section("next to no contrast", [(name, f"nearly all of it within {shades} of 256 shades") for name, shades in flat])
    for title, found in ("in two classes, used in neither", conflicts), ("copies, of which one counts", copies):
        findings.section(title, [(name, reason.partition("bytes as ")[2]) for name, reason in found], " = ")
    of_split: dict[str, Counter] = {}
    for photo in kept:
        of_split.setdefault(photo.kind, Counter())[photo.split] += 1
    if usable:
        alike = duplicates.pairs(np.array([look.bits for look in usable]), np.array([look.thumbnail for look in usable]))
        pairs = [(usable[one].photo, usable[other].photo) for _, one, other in alike]
        for same, title in (
            (False, "near-duplicates in different classes, one of them wrong"),
            (True, "near-duplicates in one class"),
        ):
            found = [(one.name, other.name) for one, other in pairs if (one.kind == other.kind) is same]
            findings.section(title, found, " ~ ")
    if len(of_split) > 1 and min(map(Counter.total, of_split.values())) >= labels.FOLDS:
        words = [sys.executable, "-m", "dvc", "repro", "-q", "pretrained"]
        if subprocess.run(words, env=experiment.environment()).returncode:
            print("\nThe labels were not checked: that needs the network's weights, and no other run beside it.")
        else:
            network = layers.Frozen(views.WEIGHTS, settings["backbone"], [])
            doubtful = labels.doubtful([look.photo for look in usable], listed, network, depth)
            findings.section("labels to look at", [(photo.name, f"looks like {kind}") for photo, kind in doubtful], " ")
    problem = ""
    if bare := sorted(listed.counts().keys() - of_split.keys()):
        problem = f"The class {bare[0]} has 0 usable photos: add some."
    elif usable:
        sizes, problem = split_sizes(of_split, settings)
        if not problem:
            tested = sum(of_class["test"] for of_class in sizes.values())
            low, high = metrics.wilson(round(0.9 * tested), tested)
            print(f"With {tested} test photos an accuracy of 0.9 means {low:.2f} to {high:.2f}, by its 95 % interval.")
            few = [(kind, "") for kind, of_class in sizes.items() if of_class["test"] < FEW]
            findings.section(f"classes with fewer than {FEW} test photos, too few to say how well they are told apart", few)
    tables.write(CSV, ["finding", "name", "what"], findings)
    print(f"\n{CSV} has all of it: {len(findings)} rows.")
    try:
        listed.check()
    except UserError as error:
        problem = str(error)
    return problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].partition(" `")[0])
    parser.add_argument("folder", help="a folder of class folders, or a zip of it")
    asked = parser.parse_args().folder
    if "://" in asked or lists.is_list(asked):
        raise UserError(
            f"{asked}: make check reads every photo of a folder or a zip. Photos of a bucket or a list are looked at when they are drawn: "
            "make repro lists what can't be used in data/skipped.csv."
        )
    folder = Path(os.path.expanduser(asked))
    if not folder.exists():
        raise UserError(f"There is no folder {folder}: name one with a folder of photos for every class, or a zip of it.")
    listed = listing.of_archive(folder)
    if not listed.photos:
        listed.check()
    if problem := check(listed):
        sys.exit(problem)


if __name__ == "__main__":
    command.start(main)
