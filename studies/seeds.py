"""The three levels from several seeds, as DVC experiments: every seed draws the splits anew and starts the trainings anew.

    python -m studies.seeds                                       # five seeds of params.yaml's recipe
    python -m studies.seeds --seeds 11 12 --to /tmp/seeds.json finetune.epochs=1      # two of another one
    python -m studies.seeds --folds 5                             # k-fold cross-validation instead
    python -m studies.seeds --show studies/results/seeds.json             # what a file holds; runs nothing

With folds the photos for training and validation are dealt into so many parts, and every part is once the one that
validates while all others train: their test photos are all the same, so they stay out of it.

Writes a JSON file, `<level>.<split>` each: `mean` and `std` of the accuracy over the runs, `n` photos in all of them, the
95 % Wilson interval of all predictions pooled (`low`, `high`), the mean log loss, the `seeds`, and each of the `runs`. With a
draw a photo may be tested by several seeds: the interval is that of `n` predictions, not of so many photos. Printed besides:
what a level gains on the one below, run by run. Frozen layers come from the memo (littledata/features/memo.py). The workspace ends as
it was.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from littledata.core import command
from littledata.core.errors import UserError
from littledata.scores import levels
from littledata.scores import metrics as scoring
from tools import experiment, recipe

SEEDED = ("subsample", "small_cnn", "activations", "top", "finetune")
SEEDS = Path("studies/results/seeds_default.json")
FOLDS = Path("studies/results/folds.json")


def redrawn(seed: int) -> dict[str, int]:
    """The changes that draw the splits and start every training from a seed."""
    return {f"{stage}.seed": seed for stage in SEEDED}


def metrics_of(run: Callable[..., int], changes: Mapping[str, object], more: Sequence[str] = ()) -> dict:
    """Run an experiment by `experiment.run`, or what `workspace_as_it_was` has of it; returns its scores."""
    if status := run(changes, more):
        sys.exit(status)
    return scoring.read()


def spread(runs: Sequence[Mapping], level: str, split: str) -> dict:
    """A level's accuracies on a split over the runs: their mean and standard deviation, and the interval of all predictions."""
    scores = [metrics[level][split] for metrics in runs]
    accuracies = [score["accuracy"] for score in scores]
    right = sum(round(score["accuracy"] * score["n"]) for score in scores)
    n = sum(score["n"] for score in scores)
    low, high = scoring.wilson(right, n)
    return {
        "mean": round(float(np.mean(accuracies)), 4),
        "std": round(float(np.std(accuracies, ddof=1)), 4),
        "n": n,
        "low": round(low, 4),
        "high": round(high, 4),
        "log_loss": round(float(np.mean([score["log_loss"] for score in scores])), 4),
        "runs": accuracies,
    }


def line(level: str, split: str, found: Mapping) -> str:
    each = " ".join(f"{accuracy:.4f}" for accuracy in found["runs"])
    pooled = f"n = {found['n']} ({found['low']:.4f}-{found['high']:.4f})"
    return f"{level:<10}{split:<12}{found['mean']:.4f} +- {found['std']:.4f}  {pooled}  log loss {found['log_loss']:.4f}  {each}"


def gain(found: Mapping, below: Mapping) -> tuple[float, float]:
    """A level's accuracy less that of the level below, run by run: mean and standard deviation. As both of a run see the same
    photos, its luck of the draw is in neither."""
    differences = np.subtract(found["runs"], below["runs"])
    return float(np.mean(differences)), float(np.std(differences, ddof=1))


def lines(summary: Mapping) -> list[str]:
    """A file's accuracies, and what every level gains on the one below."""
    every = [line(level, split, found) for level in levels.LEVELS for split, found in summary[level].items()]
    for below, level in itertools.pairwise(levels.LEVELS):
        for split, found in summary[level].items():
            mean, std = gain(found, summary[below][split])
            every.append(f"{level} less {below}, run by run, {split}: {mean:+.4f} +- {std:.4f}")
    return every


def written(path: Path) -> list[str]:
    """The lines of what an earlier run wrote. Raises UserError where it is something else."""
    try:
        return lines(json.loads(path.read_text()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no file that `python -m studies.seeds` wrote.") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="SEED", help="default: 1 to 5")
    parser.add_argument("--folds", type=int, help="cross-validation in so many parts, all from the recipe's own seeds")
    parser.add_argument("--to", type=Path, help=f"the file to write; default: {SEEDS}, or {FOLDS}")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    parser.add_argument("--recipe", help="another recipe than params.yaml's: recipes/<name>.yaml")
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE", help="params to change besides")
    given = parser.parse_args()
    if given.show:
        print(*written(given.show), sep="\n")
        return
    if given.folds is not None:
        numbers = list(range(1, given.folds + 1))
        asked = [{"subsample.folds": given.folds, "subsample.fold": fold} for fold in numbers]
    else:
        numbers = given.seeds
        asked = [redrawn(seed) for seed in numbers]
    if len(asked) < 2:
        parser.error("a spread takes two runs or more")
    more = recipe.changes(given.recipe) + given.changes
    with experiment.workspace_as_it_was() as run:
        runs = [metrics_of(run, changes, more) for changes in asked]
    summary: dict = {"params": more}
    for level in levels.LEVELS:
        for split in runs[0][level]:
            if given.folds and split != "validation":
                continue
            found = spread(runs, level, split) | {"folds" if given.folds else "seeds": numbers}
            summary.setdefault(level, {})[split] = found
    print(*lines(summary), sep="\n")
    path = given.to or (FOLDS if given.folds else SEEDS)
    path.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    command.start(main)
