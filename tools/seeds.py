"""Levels 2 and 3 from several seeds, as DVC experiments: mean and spread of their accuracies.

    python -m tools.seeds           # make seeds

Writes metrics/seeds.json. Activations and bottleneck features come from the cache. The workspace ends as it was.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from stages.lib import params

SEEDS = range(1, 6)
LEVELS, SPLITS = ("top", "finetune"), ("validation", "test")
METRICS = Path("metrics/metrics.json")


def experiment(top_seed: int, finetune_seed: int) -> dict:
    """Run one experiment and return its metrics."""
    command = ["dvc", "exp", "run", "-S", f"top.seed={top_seed}", "-S", f"finetune.seed={finetune_seed}"]
    print("$ " + " ".join(command), flush=True)
    if status := subprocess.run([sys.executable, "-m", *command]).returncode:
        sys.exit(status)
    return json.loads(METRICS.read_text())


def main() -> None:
    own = params.load()
    own = own["top"]["seed"], own["finetune"]["seed"]
    runs = [experiment(seed, seed) for seed in SEEDS]
    experiment(*own)
    summary: dict = {}
    for level in LEVELS:
        for split in SPLITS:
            accuracies = [metrics[level][split]["accuracy"] for metrics in runs]
            mean, spread = float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))
            summary.setdefault(level, {})[split] = {"mean": round(mean, 4), "std": round(spread, 4), "runs": accuracies}
            print(f"{level:<10}{split:<12}{mean:.4f} +- {spread:.4f}   {' '.join(f'{a:.4f}' for a in accuracies)}")
    summary["seeds"] = list(SEEDS)
    Path("metrics/seeds.json").write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
