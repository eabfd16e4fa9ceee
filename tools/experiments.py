"""The experiments since the last commit, the best one first: validation results, what each took here, and the params in which
they differ. `make experiments`

A row's accuracies are those of validation photos, its log loss is level 3's on them; its seconds are those of the stages that
differ from the last commit's, as they were measured on this machine. `dvc exp show` has all the rest.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping

from littledata.core import command, measured, params
from littledata.core.errors import UserError
from littledata.core.params import leaves
from littledata.scores import levels
from tools import commits, table


def listed() -> Iterator[tuple[str, str | None, str, dict]]:
    """The workspace, the last commit, and the experiments that start from it: what to call it, its commit, its state where it
    has not ended well, and its params by their dotted names."""
    done = subprocess.run([sys.executable, "-m", "dvc", "exp", "show", "--json"], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"`dvc exp show` failed: {done.stderr.strip()}")
    workspace, head = json.loads(done.stdout)
    yield "workspace", None, "", params_of(workspace)
    yield head["name"] or head["rev"][:7], head["rev"], "", params_of(head)
    for experiment in head["experiments"] or []:
        last, state = experiment["revs"][0], (experiment["executor"] or {}).get("state", "success")
        yield experiment["name"] or last["rev"][:7], last["rev"], "" if state == "success" else state, params_of(last)


def params_of(entry: Mapping) -> dict:
    """The params of what `dvc exp show` lists; none where they could not be read."""
    file = ((entry["data"] or {}).get("params") or {}).get(str(params.PARAMS)) or {}
    return dict(leaves(file.get("data") or {}))


def seconds(commit: str | None, base: Mapping[str, dict]) -> str:
    """What the stages took that differ from `base`'s, in words; a stage with other results ran, or came from the cache."""
    took = [measured.of(stage, entry) for stage, entry in commits.locked(commit).items() if base.get(stage) != entry]
    if None in took:
        return "not measured here"
    return f"{sum(found['seconds'] for found in took):.0f} s" if took else ""


def row(name: str, commit: str | None, state: str, base: Mapping[str, dict]) -> list[str]:
    scores = {} if state else commits.scores(commit)
    found = [scores[level]["validation"] for level in levels.LEVELS if level in scores]
    if not found:
        return [name, *["-"] * 4, state or "no results"]
    accuracies = (f"{of_level['accuracy']:.4f}" for of_level in found)
    return [name, *accuracies, f"{found[-1]['log_loss']:.4f}", seconds(commit, base)]


def main() -> None:
    found, base = list(listed()), commits.locked("HEAD")
    every = [own for *_, own in found]
    names = dict.fromkeys(name for own in every for name in own)  # in the order of params.yaml
    differ = [name for name in names if len({json.dumps(own.get(name)) for own in every}) > 1]
    rows = [[*row(*entry, base), *(json.dumps(own.get(name)) for name in differ)] for *entry, own in found]
    rows[2:] = sorted(rows[2:], key=lambda cells: float(cells[4].replace("-", "inf")))
    print(table.aligned([["", "level 1", "level 2", "level 3", "log loss", "seconds", *differ], *rows]))


if __name__ == "__main__":
    command.start(main)
