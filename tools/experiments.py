"""The experiments since the last commit, the best one first: validation results, what each took here, and the params in which
they differ. `make experiments`

A row's accuracies are those of validation photos, its log loss is level 3's on them; its seconds are those of the stages that
differ from the last commit's, as they were measured on this machine: `dvc exp show`, which has all the rest, knows none of these.
"""

import csv
import subprocess
import sys
from collections.abc import Mapping

from littledata.core import command, measured, params
from littledata.core.errors import UserError
from tools import commits, table

RESULTS = {"level 1": "small_cnn.val", "level 2": "top.val", "level 3": "finetune.val", "log loss": "finetune.loss"}


def seconds(commit: str | None, base: Mapping[str, dict]) -> str:
    """What the stages took that differ from `base`'s, in words; a stage with other results ran, or came from the cache."""
    took = [measured.of(stage, entry) for stage, entry in commits.locked(commit).items() if base.get(stage) != entry]
    if None in took:
        return "not measured here"
    return f"{sum(stage['seconds'] for stage in took):.0f} s" if took else ""


def main() -> None:
    words = [sys.executable, "-m", "dvc", "exp", "show", "--csv", "--drop", "Created|parent"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"`dvc exp show` failed: {done.stderr.strip()}")
    shown, base = list(csv.DictReader(done.stdout.splitlines())), commits.locked("HEAD")
    differ = [name for name, _ in params.leaves(params.load()) if len({row.get(name) for row in shown}) > 1]
    rows = []
    for row in shown:
        results = [f"{float(row[name]):.4f}" if row.get(name) else "-" for name in RESULTS.values()]
        took = row["State"] if row.get("State") else seconds(None if row["rev"] == "workspace" else row["rev"], base)
        rows.append([row["Experiment"] or row["rev"], *results, took, *(row.get(name, "") for name in differ)])
    rows[2:] = sorted(rows[2:], key=lambda cells: float(cells[4].replace("-", "inf")))
    print(table.aligned([["", *RESULTS, "seconds", *differ], *rows]))


if __name__ == "__main__":
    command.start(main)
