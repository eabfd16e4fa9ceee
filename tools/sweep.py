"""Experiments side by side: every combination of the values given, by several workers of DVC's queue. `make sweep`

    python -m tools.sweep -S finetune.lr=1e-5,3e-5,1e-4 -S finetune.dropout=0.3,0.5
    python -m tools.sweep -j 4 -S top.units=0,256

First come the stages whose results the experiments share, one run after the other: two workers that miss the same
activations at the same time would both compute them. Then every worker has its share of the cores.
"""

import argparse
import subprocess
import sys

from dvc.utils.hydra import get_hydra_sweeps

from stages.lib import environment, params
from tools import command, experiment

SHARED = ("small_cnn", "bottleneck")  # what takes long, with all that comes before
BEFORE = ("download", "subsample", "pretrained", "activations")
WARM_UP = "warm-up"


def combinations(changes: list[str]) -> list[list[str]]:
    """Every experiment's changes, `name=value` each; lists of values are split as DVC's queue does it."""
    return [list(paths[str(params.PARAMS)]) for paths in get_hydra_sweeps({str(params.PARAMS): changes})]


def shared(combination: list[str]) -> tuple[str, ...]:
    """Those changes that stages read which experiments share."""
    declared = [key for stage in (*BEFORE, *SHARED) for key in params.declared(stage).get("params", [])]
    names = {change: change.partition("=")[0].lstrip("+") for change in combination}
    return tuple(
        change
        for change, name in names.items()
        if any(f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.") for key in declared)
    )


def dvc(*words: str, threads: int = environment.THREADS) -> None:
    """Run a DVC command that has so many threads a process; ends here where it fails."""
    print("$ dvc " + " ".join(words), flush=True)
    env = experiment.environment() | {"OMP_NUM_THREADS": str(threads)}
    if status := subprocess.run([sys.executable, "-m", "dvc", *words], env=env).returncode:
        sys.exit(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-S", dest="changes", metavar="NAME=VALUE,VALUE", action="append", required=True)
    parser.add_argument("-j", dest="jobs", type=int, default=min(2, environment.THREADS), help="workers; default: 2")
    given = parser.parse_args()
    if not 1 <= given.jobs <= environment.THREADS:
        parser.error(f"this machine has threads for 1 to {environment.THREADS} workers")
    changes = [word for change in given.changes for word in ("-S", change)]
    for combination in dict.fromkeys(map(shared, combinations(given.changes))):
        dvc("exp", "run", "--temp", "-f", "-n", WARM_UP, *(word for change in combination for word in ("-S", change)), *SHARED)
        dvc("exp", "remove", "--quiet", WARM_UP)
    dvc("exp", "run", "--queue", *changes)
    dvc("exp", "run", "--run-all", "-j", str(given.jobs), threads=environment.THREADS // given.jobs)


if __name__ == "__main__":
    command.start(main)
