"""Levels 2 and 3 from several seeds, as DVC experiments: mean and spread of their accuracies.

    python -m tools.seeds           # make seeds: five of them
    python -m tools.seeds 11 12 13

Writes metrics/seeds.json. Activations and bottleneck features come from the cache. The workspace ends as it was.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from stages.lib import params
from stages.lib.errors import UserError
from tools import experiment, table

LEVELS, SPLITS = ("top", "finetune"), ("validation", "test")
SEEDS = Path("metrics/seeds.json")


def metrics_of(top_seed: int, finetune_seed: int) -> dict:
    """Run one experiment and return its metrics."""
    if status := experiment.run({"top.seed": top_seed, "finetune.seed": finetune_seed}):
        sys.exit(status)
    return json.loads(table.METRICS.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[1, 2, 3, 4, 5], help="two or more; default: 1 to 5")
    seeds = parser.parse_args().seeds
    if len(seeds) < 2:
        parser.error("a spread takes two seeds or more")
    own = params.load()
    try:
        runs = [metrics_of(seed, seed) for seed in seeds]
    finally:
        metrics_of(own["top"]["seed"], own["finetune"]["seed"])
    summary: dict = {"seeds": seeds}
    for level in LEVELS:
        for split in SPLITS:
            accuracies = [metrics[level][split]["accuracy"] for metrics in runs]
            mean, spread = float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))
            summary.setdefault(level, {})[split] = {"mean": round(mean, 4), "std": round(spread, 4), "runs": accuracies}
            print(f"{level:<10}{split:<12}{mean:.4f} +- {spread:.4f}   {' '.join(f'{a:.4f}' for a in accuracies)}")
    SEEDS.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped.")
