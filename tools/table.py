"""The results of the last run as a short table. `make table`."""

import json
import sys
from pathlib import Path

from stages.lib import params
from tools import command

METRICS = Path("metrics/metrics.json")
LEVELS = {
    "small_cnn": ("1 small convnet from scratch", "0.79-0.81"),
    "top": ("2 VGG16's bottleneck features", "0.90-0.91"),
    "finetune": ("3 fine-tuning", "0.94"),
}


def cell(scores: dict) -> str:
    return f"{scores['accuracy']:.3f} ({scores['accuracy_low']:.3f}-{scores['accuracy_high']:.3f})"


def table(metrics: dict) -> str:
    """Each level's accuracy with its 95 % interval, beside the blog's validation accuracy."""
    lines = [f"{'level':<31}{'blog':<11}{'validation':<22}test"]
    for level, (name, blog) in LEVELS.items():
        scores = metrics[level]
        lines.append(f"{name:<31}{blog:<11}{cell(scores['validation']):<22}{cell(scores['test'])}")
    return "\n".join(lines)


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
    print(table(metrics))
    print(
        f"data: {settings['download']['source']}; {sizes['train']} training, {sizes['validation']} validation and "
        f"{sizes['test']} test photos a class; in brackets the 95 % interval\n"
        f"time: {seconds() / 60:.1f} min, all stages as last computed"
    )


if __name__ == "__main__":
    command.start(main)
