"""Accuracy against the number of training photos, for the three levels, as DVC experiments. `make sizes`

    python -m studies.sizes                               # 50, 100, 250, 500 and 1000 a class, three draws each
    python -m studies.sizes 20 40 --seeds 1 2             # others

Every draw's training photos are scored on its test photos and on all photos that it leaves over (`subsample.rest`), so
few training photos have many to be tested on. The recipe is that of params.yaml, whatever the number. Writes
studies/results/sizes.json and draws studies/results/sizes.svg. Frozen layers come from the memo. The workspace ends as it was.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from littledata.core import command
from littledata.scores import levels
from littledata.splits import dataset
from studies import seeds
from tools import experiment

SIZES = Path("studies/results/sizes.json")
PICTURE = Path("studies/results/sizes.svg")
# Okabe and Ito's palette, told apart by every eye; the markers differ as well
STYLES = {"small_cnn": ("#E69F00", "o"), "top": ("#0072B2", "s"), "finetune": ("#D55E00", "^")}


def unseen(metrics: Mapping) -> dict:
    """Each level's accuracy and log loss on all photos of a run that it neither trained on nor validated by."""
    found = {}
    for level, scores in metrics.items():
        parts = [scores[split] for split in ("test", dataset.REST) if split in scores]
        n = sum(part["n"] for part in parts)
        pooled = {name: sum(part[name] * part["n"] for part in parts) / n for name in ("accuracy", "log_loss")}
        found[level] = {"unseen": {**pooled, "n": n}}
    return found


def draw(found: Mapping[str, Mapping], count: int) -> Figure:
    """The plot: mean accuracy over the draws, with their standard deviation."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    sizes = sorted(map(int, found))
    for level, name in levels.LEVELS.items():
        means, spreads = ([found[str(size)][level][key] for size in sizes] for key in ("mean", "std"))
        colour, marker = STYLES[level]
        axis.errorbar(sizes, means, yerr=spreads, color=colour, marker=marker, capsize=3, label=name)
    axis.set_xscale("log")
    axis.set_xticks(sizes, list(map(str, sizes)), minor=False)
    axis.minorticks_off()
    axis.set_xlabel("training photos a class")
    axis.set_ylabel("accuracy on photos never seen")
    axis.set_title(f"How many photos it takes: mean and standard deviation of {count} draws", fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def row(size: str, found: Mapping) -> str:
    cells = (f"{found[level]['mean']:.3f} +- {found[level]['std']:.3f}" for level in levels.LEVELS)
    return f"| {size} | {found['small_cnn']['n']} | " + " | ".join(cells) + " |"


def measured(run: Callable[..., int], size: int, numbers: Sequence[int], more: Sequence[str]) -> dict:
    """The levels' spread over the draws with so many training photos a class."""
    runs = []
    for seed in numbers:
        changes = {"subsample.train": size, "subsample.rest": "true"} | seeds.redrawn(seed)
        runs.append(unseen(seeds.metrics_of(run, changes, more)))
    return {level: seeds.spread(runs, level, "unseen") for level in levels.LEVELS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=[50, 100, 250, 500, 1000], help="default: 50 to 1000")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED", help="two or more; default: 1 to 3")
    parser.add_argument("-S", dest="more", metavar="NAME=VALUE", action="append", default=[], help="other params")
    given = parser.parse_args()
    if len(given.seeds) < 2:
        parser.error("a spread takes two draws or more")
    found: dict = {}
    with experiment.workspace_as_it_was() as run:
        for size in given.sizes:
            found[str(size)] = measured(run, size, given.seeds, given.more)
            SIZES.write_text(json.dumps({"params": given.more, "seeds": given.seeds, "sizes": found}, indent=2) + "\n")
    with rc_context({"svg.hashsalt": "sizes"}):  # else ids are drawn anew each time
        draw(found, len(given.seeds)).savefig(PICTURE, metadata={"Date": None, "Creator": None})
    print("| training photos a class | tested | level 1 | level 2 | level 3 |\n|" + "---|" * 5)
    for size, values in found.items():
        print(row(size, values))


if __name__ == "__main__":
    command.start(main)
