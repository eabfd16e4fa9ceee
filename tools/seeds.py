"""Levels 2 and 3 from several seeds, as DVC experiments: mean and spread of their accuracies.

    python -m tools.seeds           # make seeds: five of them
    python -m tools.seeds 11 12 13

Writes metrics/seeds.json. Activations and bottleneck features come from the cache. The workspace ends as it was.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tools import command, experiment, table

LEVELS, SPLITS = ("top", "finetune"), ("validation", "test")
SEEDS = Path("metrics/seeds.json")


def metrics_of(seed: int, more: Sequence[str] = ()) -> dict:
    """Run one experiment, levels 2 and 3 from this seed, and return its metrics; `more` as `experiment.run` takes it."""
    if status := experiment.run({"top.seed": seed, "finetune.seed": seed}, more):
        sys.exit(status)
    return json.loads(table.METRICS.read_text())


def spread(runs: Sequence[Mapping], level: str, split: str) -> dict:
    """Mean, standard deviation and each run's accuracy."""
    accuracies = [metrics[level][split]["accuracy"] for metrics in runs]
    mean, std = float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))
    return {"mean": round(mean, 4), "std": round(std, 4), "runs": accuracies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[1, 2, 3, 4, 5], help="two or more; default: 1 to 5")
    seeds = parser.parse_args().seeds
    if len(seeds) < 2:
        parser.error("a spread takes two seeds or more")
    with experiment.workspace_as_it_was():
        runs = [metrics_of(seed) for seed in seeds]
    summary: dict = {"seeds": seeds}
    for level in LEVELS:
        for split in SPLITS:
            found = summary.setdefault(level, {})[split] = spread(runs, level, split)
            each = " ".join(f"{accuracy:.4f}" for accuracy in found["runs"])
            print(f"{level:<10}{split:<12}{found['mean']:.4f} +- {found['std']:.4f}   {each}")
    SEEDS.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    command.start(main)
