"""The results of the last run as a short table. `make table`."""

import json
import sys
from pathlib import Path

from stages import subsample
from stages.lib import dataset, levels, params
from tools import command

METRICS = Path("metrics/metrics.json")


def cell(scores: dict) -> str:
    text = f"{scores['accuracy']:.3f} ({scores['accuracy_low']:.3f}-{scores['accuracy_high']:.3f})"
    balanced = scores.get("balanced_accuracy")  # older results have none
    return text if balanced in (None, scores["accuracy"]) else f"{text}, balanced {balanced:.3f}"


def table(metrics: dict, blog: bool = True) -> str:
    """Each level's accuracy with its 95 % interval, beside the blog's validation accuracy if that is asked for; and where
    classes differ in number the balanced accuracy, the mean of every class' own."""
    rows = [["level", *(["blog"] if blog else []), "validation", "test"]]
    for level, name in levels.LEVELS.items():
        figures = ["-".join(f"{figure:.2f}" for figure in dict.fromkeys(levels.BLOG[level]))] if blog else []
        rows.append([name, *figures, *(cell(metrics[level][split]) for split in ("validation", "test"))])
    widths = [max(map(len, column)) + 2 for column in zip(*rows)]
    return "\n".join("".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def seconds() -> float:
    """The stages' time, each as last measured; a stage whose result came from the cache keeps its time."""
    return sum(json.loads(path.read_text())["seconds"] for path in Path("metrics/timing").glob("*.json"))


def main() -> None:
    try:
        metrics = json.loads(METRICS.read_text())
    except FileNotFoundError:
        sys.exit("No results yet: run `make repro`.")
    settings = params.load()
    sizes = settings["subsample"]
    train, validation, test = (f"{size:.0%}" if subsample.shares(sizes) else size for size in map(sizes.get, dataset.SPLITS))
    print(table(metrics, settings["download"]["source"] != "path"))
    print(
        f"data: {settings['download']['source']}; {train} training, {validation} validation and {test} test photos a class; "
        f"in brackets the 95 % interval\n"
        f"time: {seconds() / 60:.1f} min, all stages as last computed"
    )


if __name__ == "__main__":
    command.start(main)
