"""Say whether dvc.lock belongs to params.yaml, dvc.yaml, the code and the metrics in git.

    python -m tools.lock            # make check-lock

Compares commands, params and md5s by itself: it runs nothing and needs no data, where a dry `dvc repro` stumbles
over data that isn't there. Exits with status 1 and a line for every difference.
"""

import hashlib
import sys
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.lib import params
from stages.lib.errors import UserError
from stages.lib.tree import leaves
from tools import command


def load(text: str, name: str) -> dict[str, dict]:
    """The stages in the text of a dvc.yaml or dvc.lock; none in an empty one.

    Raises
    ------
    UserError
        If it is no YAML, as after a merge with conflicts.
    """
    try:
        return (YAML(typ="safe", pure=True).load(text) or {}).get("stages") or {}
    except YAMLError as error:
        raise UserError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None


def stages(*files: Path) -> dict[str, dict]:
    """The stages of all files that are there."""
    return {name: stage for file in files if file.exists() for name, stage in load(file.read_text(), str(file)).items()}


def entries(locked: dict) -> dict[str, object]:
    """A stage's lock entry laid flat: `cmd`, `param <dotted name>` and every path, with its value or md5."""
    flat = {"cmd": locked.get("cmd")}
    for tree in locked.get("params", {}).values():
        flat |= {f"param {name}": value for name, value in leaves(tree)}
    return flat | {file["path"]: file["md5"] for group in ("deps", "outs") for file in locked.get(group, [])}


def paths(declared: dict, *groups: str) -> dict[str, dict]:
    """The paths in groups of a dvc.yaml stage, each with its flags, such as `cache: false`."""
    found: dict[str, dict] = {}
    for item in (item for group in groups for item in declared.get(group, [])):
        found |= item if isinstance(item, dict) else {item: {}}
    return found


def expected(declared: dict, locked: dict, settings: dict, made: dict[str, object]) -> dict[str, object]:
    """What a stage's `entries` have to be, going by what is in git.

    Parameters
    ----------
    declared, locked : dict
        The stage in dvc.yaml and in dvc.lock.
    settings : dict
        params.yaml.
    made : dict of path to md5
        Every stage's outs by the lock: what is right for a stage that reads one, since the data may not be here.
    """
    flat: dict[str, object] = {"cmd": declared["cmd"]}
    for key in declared.get("params", []):
        value: object = settings
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        flat |= {f"param {name}": value for name, value in leaves({key: value})}
    for path in paths(declared, "deps"):
        flat[path] = made[path] if path in made else md5(path)
    for path, flags in paths(declared, "outs", "metrics", "plots").items():
        flat[path] = made.get(path) if flags.get("cache", True) else md5(path)
    return flat


def md5(path: str) -> str | None:
    """A file's md5 as DVC 3 takes it, of its bytes as they are; None if it isn't there."""
    return hashlib.md5(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else None


def differences() -> list[str]:
    """One line for everything in which dvc.lock differs from what is in git, by stage; none if it belongs."""
    settings, pipeline = params.load(), stages(*params.PIPELINES)
    lock = stages(*(file.with_suffix(".lock") for file in params.PIPELINES))
    makers = {path: stage for stage in pipeline for path in paths(pipeline[stage], "outs", "metrics", "plots")}
    made = {path: entries(lock.get(stage, {})).get(path) for path, stage in makers.items()}
    lines = [f"{stage}: dvc.lock has it, dvc.yaml hasn't" for stage in lock if stage not in pipeline]
    for stage, declared in pipeline.items():
        if stage not in lock:
            lines.append(f"{stage}: dvc.lock hasn't got it")
            continue
        right, given = expected(declared, lock[stage], settings, made), entries(lock[stage])
        for key in sorted(right.keys() | given.keys()):
            if key not in given:
                lines.append(f"{stage}: {key} is not in dvc.lock")
            elif key not in right:
                lines.append(f"{stage}: {key} is in dvc.lock alone")
            elif right[key] != given[key]:
                whose = f", by stage {makers[key]}" if makers.get(key, stage) != stage else ""
                what = "not there" if right[key] is None and not key.startswith("param ") else right[key]
                lines.append(f"{stage}: {key} is {what}{whose}; in dvc.lock {given[key]}")
    return lines


def main() -> None:
    if lines := differences():
        print(*lines, sep="\n")
        sys.exit("dvc.lock does not belong to what is in git: run `dvc repro -P` and commit what it wrote.")
    print("dvc.lock belongs to params.yaml, dvc.yaml, the code and the metrics.")


if __name__ == "__main__":
    command.start(main)
