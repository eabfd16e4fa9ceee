"""What more augmented views of a training photo bring and cost, as DVC experiments. `make views`

    python -m studies.views           # 1, 2, 4 and 8 views, three seeds each
    python -m studies.views 1 2 -S image_size=150

`activations` runs once, with the most views; the trainings take as many of them as a row says. Writes
studies/results/views.json: accuracies of levels 2 and 3, the bytes of the cached activations and the seconds that they take,
both in proportion to the pictures. Prints a table. The workspace ends as it was.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from littledata.core import command, lockfile, measured, params
from littledata.features import activations, memo
from littledata.splits import dataset
from studies import seeds
from tools import experiment

VIEWS = Path("studies/results/views.json")
SEEDS = (1, 2, 3)
LEVELS, SPLITS = ("top", "finetune"), ("validation", "test")


def scores(run: Callable[..., int], views: int, most: int, more: list[str]) -> dict:
    """Accuracies of three experiments with so many views of the `most` that are cached, and with other params."""
    changes = [f"activations.views={most}", f"top.views={views}", f"finetune.views={views}", *more]
    runs = [seeds.metrics_of(run, {"top.seed": seed, "finetune.seed": seed}, changes) for seed in SEEDS]
    return {level: {split: seeds.spread(runs, level, split) for split in SPLITS} for level in LEVELS}


def cost(views: int) -> dict:
    """Seconds and bytes of the activations of so many views, from those that lie in the workspace."""
    arrays = {split: activations.read(activations.ACTIVATIONS, split)[0] for split in dataset.SPLITS}
    pictures = {split: array.shape[0] * array.shape[1] for split, array in arrays.items()}
    fewer = pictures | {"train": len(arrays["train"]) * views}
    share = sum(fewer.values()) / sum(pictures.values())
    took = measured.of("activations", lockfile.stages(*lockfile.LOCKS)["activations"])
    return {
        "seconds": round(share * took["seconds"]) if took else None,
        "bytes": round(share * sum(array.nbytes for array in arrays.values())),
    }


def row(views: int, found: dict) -> str:
    accuracies = (found[level][split] for level in LEVELS for split in SPLITS)
    cells = [f"{accuracy['mean']:.3f} +- {accuracy['std']:.3f}" for accuracy in accuracies]
    time = f"{found['seconds'] / 60:.1f} min" if found["seconds"] else "not measured here"
    return f"| {views} | {time} | {found['bytes'] / 1e9:.2f} GB | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("views", nargs="*", type=int, default=[1, 2, 4, 8], help="default: 1 2 4 8")
    parser.add_argument("-S", dest="more", metavar="NAME=VALUE", action="append", default=[], help="other params")
    given = parser.parse_args()
    asked = given.views
    found = {}
    with experiment.workspace_as_it_was() as run:
        if given.more or params.load()["activations"]["views"] != max(asked):
            shutil.rmtree(memo.MEMOS, ignore_errors=True)  # what is timed is computed
        for views in asked:
            accuracies = scores(run, views, max(asked), given.more)
            found[views] = {**cost(views), **accuracies}
    VIEWS.write_text(json.dumps({"params": given.more, "seeds": SEEDS, "views": found}, indent=2) + "\n")
    print("| views | activations | disk | level 2, validation | test | level 3, validation | test |\n|" + "---|" * 7)
    for views, values in found.items():
        print(row(views, values))


if __name__ == "__main__":
    command.start(main)
