"""Experiments side by side: every combination of the values given, by several workers of DVC's queue. `make sweep`

    python -m tools.sweep -S finetune.lr=1e-5,3e-5,1e-4 -S finetune.dropout=0.3,0.5
    python -m tools.sweep -j 4 -S top.units=0,256

First come the stages whose results the experiments share, one run after the other: two workers that miss the same
activations at the same time would both compute them. Then every worker has its share of the cores.
"""

import argparse
import os
import subprocess
import sys

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils.hydra import get_hydra_sweeps
from hydra.errors import HydraException

from littledata.core import command, environment, params
from littledata.core.errors import UserError
from tools import experiment, recipe

SHARED = ("small_cnn", "top")  # what experiments with level 3 share, and with it all that comes before
BEFORE = ("download", "subsample", "pretrained", "activations", "bottleneck")
STOPPED = "Stopped; the workers go on. `dvc queue stop --kill` ends them, `dvc queue status` says what they do."


def combinations(changes: list[str]) -> list[list[str]]:
    """Every experiment's changes, `name=value` each; lists of values are split as DVC's queue does it.

    Raises
    ------
    UserError
        For what is no such change, or of a param that params.yaml doesn't have.
    """
    try:
        combined = [list(paths[str(params.PARAMS)]) for paths in get_hydra_sweeps({str(params.PARAMS): changes})]
    except (DvcException, HydraException) as error:
        raise UserError(f"{' '.join(changes)}: {str(error).splitlines()[0]}") from None
    for change in combined[0]:
        recipe.value(params.load().model_dump(), change.partition("=")[0])
    return combined


def shared(combination: list[str]) -> tuple[str, ...]:
    """Those changes that stages read which experiments share."""
    declared = {f"{key}." for stage in (*BEFORE, *SHARED) for key in params.declared(stage).get("params", [])}
    names = {change: f"{change.partition('=')[0]}." for change in combination}
    return tuple(change for change, name in names.items() if any(name.startswith(key) or key.startswith(name) for key in declared))


def warm_up(changes: tuple[str, ...]) -> None:
    """Run the shared stages with these changes, in a copy of the workspace; from the cache where they ran before."""
    name = f"warm-up-{os.getpid()}"
    status = experiment.run(changes, "--temp", "-n", name, *SHARED)
    subprocess.run([sys.executable, "-m", "dvc", "exp", "remove", "--quiet", name], stderr=subprocess.DEVNULL)
    if status:
        sys.exit(status)


def failures() -> dict[str, str]:
    """The failed experiments in DVC's queue: names by revision."""
    with Repo() as repo:
        return {entry.stash_rev: entry.name or entry.stash_rev[:7] for entry, _ in repo.experiments.celery_queue.iter_failed()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-S", dest="changes", metavar="NAME=VALUE,VALUE", action="append", required=True)
    jobs = min(2, environment.THREADS)
    parser.add_argument("-j", dest="jobs", type=int, default=jobs, help=f"workers; default: {jobs}")
    options = parser.parse_args()
    if not 1 <= options.jobs <= environment.THREADS:
        parser.error(f"this machine has threads for 1 to {environment.THREADS} workers")
    asked = combinations(options.changes)
    for changes in dict.fromkeys(map(shared, asked)):
        warm_up(changes)
    before = failures()
    if status := experiment.run(options.changes, "--queue"):
        sys.exit(status)
    os.environ["OMP_NUM_THREADS"] = str(environment.THREADS // options.jobs)
    experiment.run([], "--run-all", "-j", str(options.jobs))
    if failed := [name for revision, name in failures().items() if revision not in before]:
        sys.exit(f"failed: {', '.join(failed)}. `dvc queue logs NAME` says why, `dvc queue remove --failed` forgets them.")


if __name__ == "__main__":
    command.start(main, STOPPED)
