"""A recipe several times: from several seeds, in folds, on other people's photos, or with one change of params after the other.

    python -m studies.compare                                     # params.yaml's recipe, levels 1 to 3, from five seeds
    python -m studies.compare --seeds 1 2 --recipe light          # another recipe, two seeds
    python -m studies.compare --folds 1 2 3 4 5                   # five folds of training and validation photos
    python -m studies.compare a.zip b/ finetune.lr=1e-4           # levels 2 and 3 on sets of photos, each photo tested once
    python -m studies.compare --rows studies/ideas.yaml           # levels 2 and 3, each change against the first row
    python -m studies.compare --show studies/results/seeds.json   # what a file holds; runs nothing

A seed draws the splits and starts every training anew. Of five folds one validates, or with sets one tests and the next validates;
the others train. Splits that a set's folders give are set aside. Rows are judged by validation photos: test photos have no part in it.

The stages run in a copy of the workspace under .cache/copies, which stays as it is; frozen layers come from the memo. Each row has its
accuracy on all photos of its runs with Wilson's 95 % interval, the balanced accuracy, the log loss, and the accuracy of each run; and
what a level wins on the one below it, or a row on the first one: the difference with its interval, the photos won and lost, and
McNemar's p. A photo counts in each run that answers it. The file is written row by row, and keeps other rows that it has.
"""

import argparse
import contextlib
import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ruamel.yaml import YAML

from littledata.core import command, files, params, tables
from littledata.core.errors import UserError
from littledata.photos import listing
from littledata.scores import levels, metrics, temperature
from littledata.splits import dataset
from studies import copies

RESULTS, COPIES = Path("studies/results"), Path(".cache/copies")
STAGES = ("download", "pretrained", "subsample", "small_cnn", "activations", "bottleneck", "top", "finetune")
FOLDS = 5
Answers = dict[str, np.ndarray]  # for the photos of one split: `photos`, their digests, `labels`, and every level's probabilities


def redrawn(seed: int) -> list[str]:
    """The changes that draw the splits and start every training from a seed."""
    return [f"subsample.seed={seed}", f"seed={seed}"]


def dealt(fold: int, used_as: str) -> list[str]:
    """The changes for a fold whose part is the one to validate or to test."""
    return [f"subsample.parts={FOLDS}", f"subsample.part={fold}", f"subsample.part_is={used_as}"]


def own_photos(path: Path) -> list[str]:
    """The changes for other people's photos."""
    shares = ["subsample.train=0.6", "subsample.validation=0.2", "subsample.test=0.2"]
    return ["download.source=path", f"download.path={json.dumps(str(path))}", "download.sha256=null", *shares]


def located(given: Sequence[str]) -> dict[str, Path]:
    """The place of each set, by the name that was typed. Raises UserError where one is no folder or zip that is here."""
    for place in given:
        if "://" in place or not Path(place).expanduser().exists():
            raise UserError(f"There is no {place} here: name folders of class folders, or zips of them.")
        listing.own_photos(place)  # whether it may be read
    return {place: Path(place).expanduser().absolute() for place in given}


def answers(copy: copies.Copy, split: str, measured: Sequence[str], fit: str) -> Answers:
    """What the levels answer for the photos of a split, after their stages have run in a copy."""
    from littledata.training import evaluate  # TensorFlow, which --show can do without

    with contextlib.chdir(copy.folder):
        manifest = dataset.read_manifest()
        photos = dataset.of_split(manifest, split)
        found: Answers = {"labels": dataset.labels(photos, dataset.class_names(manifest))}
        found["photos"] = np.array([photo.sha256 for photo in photos])
        for level in measured:
            validated = split == "validation"
            found[level] = np.load(f"data/validation/{level}.npy") if validated else evaluate.predict(level, photos, fit)
    return found


def digits(value: float | np.floating) -> float:
    return round(float(value), 4)


def spread(each: Sequence[float]) -> float | None:
    """The standard deviation of runs; None of a single one."""
    return digits(np.std(each, ddof=1)) if len(each) > 1 else None


def scores(runs: Sequence[Answers], level: str) -> dict:
    """A level's scores on all photos of the runs, and the accuracy of each run."""
    labels, probabilities = (np.concatenate([run[key] for run in runs]) for key in ("labels", level))
    right, each = probabilities.argmax(1) == labels, [np.mean(run[level].argmax(1) == run["labels"]) for run in runs]
    return {
        "n": len(labels),
        "accuracy": digits(right.mean()),
        "interval": list(map(digits, metrics.wilson(int(right.sum()), len(labels)))),
        "std": spread(each),
        "balanced_accuracy": digits(np.mean([right[labels == label].mean() for label in np.unique(labels)])),
        "log_loss": digits(temperature.losses(labels, probabilities).mean()),
        "runs": list(map(digits, each)),
    }


def gain(runs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict:
    """What answers win on others, for runs of (labels, probabilities, the others' probabilities) of the same photos.

    The interval is that of a difference of paired proportions (Wald); `std` is that of the runs' differences.
    """
    differences = [(p.argmax(1) == labels).astype(int) - (others.argmax(1) == labels) for labels, p, others in runs]
    pooled = np.concatenate(differences)
    won, lost, each = int(np.sum(pooled > 0)), int(np.sum(pooled < 0)), [of_run.mean() for of_run in differences]
    ends = pooled.mean() + 1.96 * pooled.std() / len(pooled) ** 0.5 * np.array([-1, 1])
    return {
        "difference": digits(pooled.mean()),
        "interval": list(map(digits, ends)),
        "std": spread(each),
        "won": won,
        "lost": lost,
        "p": float(f"{metrics.mcnemar(won, lost):.2g}"),
    }


def summary(runs: Mapping[str, Sequence[Answers]], measured: Sequence[str], first: Mapping[str, Sequence[Answers]] | None) -> dict:
    """A row of the table, from the answers of its runs on each split; `first` has those of the row to compare with, if any."""
    found: dict = {"scores": {}, "gains": {}}
    for split, of_split in runs.items():
        for place, level in enumerate(measured):
            found["scores"].setdefault(level, {})[split] = scores(of_split, level)
            others = {f"{level}, on the first row": (level, first[split])} if first else {}
            if place:
                others[f"{level}, on {measured[place - 1]}"] = (measured[place - 1], of_split)
            for name, (other, answers_of) in others.items():
                pairs = list(zip(of_split, answers_of, strict=True))
                if all(np.array_equal(run["photos"], before["photos"]) for run, before in pairs):
                    each = [(run["labels"], run[level], before[other]) for run, before in pairs]
                    found["gains"].setdefault(name, {})[split] = gain(each)
    return found


def lines(rows: Mapping[str, Mapping]) -> list[str]:
    """The tables of a file's rows."""

    def flat(group: str) -> Iterator[tuple[str, str, str, str, Mapping]]:
        """Name, key, split, the runs' spread and figures."""
        for name, row in rows.items():
            for key, of_split in row[group].items():
                for split, one in of_split.items():
                    yield tables.plain(name), key, split, f" +- {one['std']:.4f}" if one["std"] else "", one

    of_levels, gains = [], []
    for name, level, split, spread, one in flat("scores"):
        balanced = f"{one['balanced_accuracy']:.3f}" if one.get("balanced_accuracy") else ""
        cells = [f"{one['accuracy']:.4f}{spread}", f"{one['n']}, {len(one['runs'])} runs", "{:.3f}-{:.3f}".format(*one["interval"])]
        of_levels.append([name, levels.LEVELS[level], split, *cells, balanced, f"{one['log_loss']:.3f}"])
    for name, which, split, spread, one in flat("gains"):
        interval = "{:+.4f} to {:+.4f}".format(*one["interval"]) if "interval" in one else ""
        changed = f"+{one['won']} -{one['lost']}, {one['p']:.2g}" if "won" in one else ""
        gains.append([name, which, split, f"{one['difference']:+.4f}{spread}", interval, changed])
    header = ["row", "level", "split", "accuracy", "n", "95 %", "balanced", "log loss"]
    header_of_gains = ["row", "gain of a level", "split", "difference", "95 %", "photos won and lost, p"]
    return [tables.markdown(header, of_levels), "", tables.markdown(header_of_gains, gains)]


def written(path: Path) -> dict[str, dict]:
    """The rows of a file that an earlier run wrote. Raises UserError where it is something else."""
    try:
        rows = json.loads(path.read_text())["rows"]
        lines(rows)
        return rows
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{path} is no file that `python -m studies.compare` wrote.") from None


def measure(copy: copies.Copy, runs: Sequence[params.Params], splits: Sequence[str], measured: Sequence[str]) -> dict:
    """Run the stages with each of some params; returns the answers on each split."""
    found: dict[str, list[Answers]] = {split: [] for split in splits}
    for given in runs:
        copy.run(given, [stage for stage in STAGES if stage != "small_cnn" or stage in measured])
        for split in splits:
            found[split].append(answers(copy, split, measured, given.fit))
    return found


class Plan(NamedTuple):
    """What is compared: changes of params that all have, rows of more, each in some runs; for which levels, by which splits."""

    kind: str
    changes: list[str]
    rows: dict[str, list[str]]
    runs: list[list[str]]
    measured: list[str]
    splits: tuple[str, ...]


def planned(options: argparse.Namespace) -> Plan:
    """What the words of the command ask for."""
    sets = [word for word in options.given if "=" not in word or Path(word).exists()]
    changes = [word for word in options.given if word not in sets]
    rows, every, upper = {"" if options.recipe else "default": []}, list(levels.LEVELS), list(levels.LEVELS)[1:]
    folds, seeds = sorted(set(options.folds or range(1, FOLDS + 1))), [redrawn(seed) for seed in options.seeds or ()]
    if sets:
        rows = {name: own_photos(path) for name, path in located(sets).items()}
        return Plan("sets", changes, rows, [dealt(fold, "test") for fold in folds], upper, ("test",))
    if options.rows:
        listed = YAML(typ="safe", pure=True).load(options.rows)
        rows |= {name: words.split() for name, words in listed.items()}
        return Plan("rows", changes, rows, seeds or [[]], upper, ("validation",))
    if options.folds:
        return Plan("folds", changes, rows, [dealt(fold, "validation") for fold in folds], every, ("validation",))
    return Plan("seeds", changes, rows, seeds or [redrawn(seed) for seed in range(1, 6)], every, ("validation", "test"))


def compare(plan: Plan, recipe: str | None, to: Path) -> dict[str, dict]:
    """Run a plan with a recipe, row by row, and add the rows to a file; returns them."""
    asked = {name: [copies.settings(recipe, [*plan.changes, *row, *run]) for run in plan.runs] for name, row in plan.rows.items()}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    compared, first = {}, None
    COPIES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=COPIES) as folder:
        copy = copies.Copy(Path(folder, "copy"))
        for name, of_row in asked.items():
            by_split = measure(copy, of_row, plan.splits, plan.measured)
            row = " ".join(filter(None, [name, recipe, *plan.changes]))
            about = {"commit": commit, "params": [*plan.changes, *plan.rows[name]]}
            compared[row] = about | summary(by_split, plan.measured, first)
            first = first or (by_split if plan.kind == "rows" else None)
            before = written(to) if to.exists() else {}
            with files.whole(to) as file:
                file.write(f"{json.dumps({'rows': before | compared}, indent=2)}\n".encode())
    return compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("given", nargs="*", metavar="SET or NAME=VALUE", help="folders of class folders, zips of them; params")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="default: 1 to 5; of rows: params.yaml's")
    every = range(1, FOLDS + 1)
    parser.add_argument("--folds", nargs="+", type=int, choices=every, metavar="FOLD", help="some of five; of sets: all")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="a name and its changes of params, a row each")
    parser.add_argument("--recipe", help="another recipe than params.yaml's: recipes/<name>.yaml")
    parser.add_argument("--to", type=Path, help=f"the file to write; default: {RESULTS}/<seeds, folds, sets or rows>.json")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    options = parser.parse_intermixed_args()  # sets, options, params
    if options.show:
        print(*lines(written(options.show)), sep="\n")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the stage that runs would go on alone
    plan = planned(options)
    if "small_cnn" not in plan.measured:
        print("Level 1 is left out.", flush=True)
    print(*lines(compare(plan, options.recipe, options.to or RESULTS / f"{plan.kind}.json")), sep="\n")


if __name__ == "__main__":
    command.start(main)
