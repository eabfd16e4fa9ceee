"""The results of the last run as a short table. `make table`."""

import json
import sys
from collections.abc import Sequence

from littledata.core import command, lockfile, measured, params
from littledata.photos import download, sources
from littledata.scores import levels, metrics
from littledata.splits import dataset, draw


def cell(scores: dict) -> str:
    text = f"{scores['accuracy']:.3f} ({scores['accuracy_low']:.3f}-{scores['accuracy_high']:.3f})"
    balanced = scores.get("balanced_accuracy")  # older results have none
    return text if balanced in (None, scores["accuracy"]) else f"{text}, balanced {balanced:.3f}"


def table(scores: dict, blog: bool = True) -> str:
    """Each level's accuracy with its 95 % interval, beside the blog's validation accuracy if that is asked for; and where
    classes differ in number the balanced accuracy, the mean of every class' own."""
    rows = [["level", *(["blog"] if blog else []), "validation", "test"]]
    for level, name in levels.LEVELS.items():
        figures = ["-".join(f"{figure:.2f}" for figure in dict.fromkeys(levels.BLOG[level]))] if blog else []
        rows.append([name, *figures, *(cell(scores[level][split]) for split in ("validation", "test"))])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) + 2 for column in zip(*rows)]
    return "\n".join("".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def time(lock: dict[str, dict]) -> str:
    """What the stages in a lock took on this machine when they were computed, all together, in words."""
    took = {stage: measured.of(stage, entry) for stage, entry in lock.items()}
    missing = [stage for stage, found in took.items() if not found]
    if len(missing) == len(took):
        return "not measured here"
    minutes = sum(found["seconds"] for found in took.values() if found) / 60
    return f"{minutes:.1f} min, all stages as last computed" + (f"; not measured here: {', '.join(missing)}" if missing else "")


def main() -> None:
    try:
        scores = metrics.read()
    except FileNotFoundError:
        sys.exit("No results yet: run `make repro`.")
    settings = params.load()
    sizes = settings.subsample.model_dump()
    train, validation, test = (f"{size:.0%}" if draw.shares(sizes) else size for size in map(sizes.get, dataset.SPLITS))
    drawn = f"{train} training, {validation} validation and {test} test photos a class"
    if download.NOTE.exists() and draw.kept(json.loads(download.NOTE.read_text()).get("splits", []), sizes):
        drawn = "splits as its folders give them"
    print(table(scores, settings.download.source not in sources.OWN))
    for remark in levels.remarks(scores):
        print(remark)
    print(
        f"data: {settings.download.source}; {drawn}; in brackets the 95 % interval\ntime: {time(lockfile.stages(*lockfile.LOCKS))}"
    )


if __name__ == "__main__":
    command.start(main)
