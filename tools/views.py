"""What more augmented views of a training photo bring and cost, as DVC experiments. `make views`

    python -m tools.views           # 1, 2, 4 and 8 views, three seeds each
    python -m tools.views 1 2

Writes metrics/views.json: accuracies of levels 2 and 3, seconds and bytes of `activations`. Prints a table. The
workspace ends as it was.
"""

import argparse
import json
from pathlib import Path

from stages.lib import activations, params
from tools import command, seeds

VIEWS = Path("metrics/views.json")
TIMING = Path("metrics/timing/activations.json")
SEEDS = (1, 2, 3)


def measured(views: int, known: bool) -> dict:
    """Three experiments with so many views. `seconds` is None where activations came from the cache and the time
    that it took isn't `known`, as that of the workspace's own."""
    before = TIMING.read_bytes()
    runs = [seeds.metrics_of(seed, **{"activations.views": views}) for seed in SEEDS]
    known = known or TIMING.read_bytes() != before
    seconds = json.loads(TIMING.read_text())["seconds"] if known else None
    size = sum(path.stat().st_size for path in activations.ACTIVATIONS.iterdir())
    scores = {level: {split: seeds.spread(runs, level, split) for split in seeds.SPLITS} for level in seeds.LEVELS}
    return {"seconds": seconds, "bytes": size, **scores}


def row(views: int, found: dict) -> str:
    scores = (found[level][split] for level in seeds.LEVELS for split in seeds.SPLITS)
    cells = [f"{score['mean']:.3f} +- {score['std']:.3f}" for score in scores]
    time = f"{found['seconds'] / 60:.1f} min" if found["seconds"] else "cached"
    return f"| {views} | {time} | {found['bytes'] / 1e9:.2f} GB | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("views", nargs="*", type=int, default=[1, 2, 4, 8], help="default: 1 2 4 8")
    asked = parser.parse_args().views
    own = params.load()
    timing = {path: path.read_bytes() for path in TIMING.parent.glob("*.json")}
    try:
        found = {views: measured(views, known=views == own["activations"]["views"]) for views in asked}
    finally:
        seeds.back(own)
        for path, content in timing.items():
            path.write_bytes(content)
    VIEWS.write_text(json.dumps({"seeds": SEEDS, "views": found}, indent=2) + "\n")
    print("| views | activations | disk | level 2, validation | test | level 3, validation | test |\n|" + "---|" * 7)
    for views, values in found.items():
        print(row(views, values))


if __name__ == "__main__":
    command.start(main)
