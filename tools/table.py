"""The results of the last run as a short table. `make table`."""

import json
import sys
from pathlib import Path

from stages import subsample
from stages.lib import dataset, params
from tools import command

METRICS = Path("metrics/metrics.json")
LEVELS = {
    "small_cnn": ("1 small convnet from scratch", "0.79-0.81"),
    "top": ("2 VGG16's bottleneck features", "0.90-0.91"),
    "finetune": ("3 fine-tuning", "0.94"),
}


def cell(scores: dict) -> str:
    text = f"{scores['accuracy']:.3f} ({scores['accuracy_low']:.3f}-{scores['accuracy_high']:.3f})"
    balanced = scores.get("balanced_accuracy")  # older results have none
    return text if balanced in (None, scores["accuracy"]) else f"{text}, balanced {balanced:.3f}"


def table(metrics: dict) -> str:
    """Each level's accuracy with its 95 % interval, beside the blog's validation accuracy; and where classes differ in
    number the balanced accuracy, the mean of every class' own."""
    rows = [("level", "blog", "validation", "test")]
    for level, (name, blog) in LEVELS.items():
        rows.append((name, blog, *(cell(metrics[level][split]) for split in ("validation", "test"))))
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
    print(table(metrics))
    print(
        f"data: {settings['download']['source']}; {train} training, {validation} validation and {test} test photos a class; "
        f"in brackets the 95 % interval\n"
        f"time: {seconds() / 60:.1f} min, all stages as last computed"
    )


if __name__ == "__main__":
    command.start(main)
