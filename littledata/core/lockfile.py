"""Compare what the dvc.yaml files declare with what the dvc.lock files hold of the last runs: both are laid flat here."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from littledata.core import environment, files, params
from littledata.core.errors import UserError

LOCKS = tuple(path.with_suffix(".lock") for path in params.PIPELINES)


@functools.lru_cache(maxsize=8)  # a stage asks for the same locks when it begins and when it ends
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
        cut_off = name.endswith(".lock") and "<<<<<<< " not in text
        what_next = ". `make mend` keeps its whole stages" if cut_off else ""
        raise UserError(f"{name} is not valid YAML: {' '.join(str(error).split())}{what_next}") from None


def stages(*files: Path) -> dict[str, dict]:
    """Read the stages of all files that exist."""
    return {name: stage for file in files if file.exists() for name, stage in load(file.read_text(), str(file)).items()}


def paths(declared: dict, *groups: str) -> dict[str, dict]:
    """The paths in groups of a dvc.yaml stage (`deps`, `outs`, `metrics`, `plots`), each with its flags, such as
    `cache: false`."""
    items = (item for group in groups for item in declared.get(group, []))
    return {path: flags for item in items for path, flags in (item if isinstance(item, dict) else {item: {}}).items()}


def ins(locked: dict) -> dict[str, object]:
    """List what went into a stage, by its lock entry: `cmd`, `param <dotted name>` and each dep's path, with value or md5."""
    flat = {"cmd": locked.get("cmd")}
    for tree in locked.get("params", {}).values():
        flat |= {f"param {name}": value for name, value in params.leaves(tree)}
    return flat | {file["path"]: file["md5"] for file in locked.get("deps", [])}


def outs(locked: dict) -> dict[str, str]:
    """List what came out of a stage, by its lock entry: the md5 of every path."""
    return {file["path"]: file["md5"] for file in locked.get("outs", [])}


def entries(locked: dict) -> dict[str, object]:
    """All of a lock entry: `ins` and `outs`."""
    return ins(locked) | outs(locked)


def holder(path: str, outs: Iterable[str]) -> str | None:
    """Which of the stages' outs a path is or lies in, if any."""
    return next((str(out) for out in (Path(path), *Path(path).parents) if str(out) in outs), None)


def due(
    declared: dict, settings: Mapping, made: Mapping[str, str | None], locked: Mapping[str, object] = MappingProxyType({})
) -> dict[str, object]:
    """List what goes into a stage now, in the form of `ins`. A missing dep has None.

    Parameters
    ----------
    declared : dict
        The stage in dvc.yaml.
    settings : mapping
        params.yaml.
    made : mapping of path to md5
        Every stage's outs by the lock. A stage that reads one takes its md5 from here, since the data may be elsewhere.
    locked : mapping, optional
        The stage's own `ins` by the lock, which alone know of a file in a folder that another stage made and that is not here.
    """
    flat: dict[str, object] = {"cmd": declared["cmd"]}
    for key in declared.get("params", []):
        value = None
        with contextlib.suppress(KeyError):
            value = params.value(settings, key)
        flat |= {f"param {name}": value for name, value in params.leaves({key: value})}
    for path in paths(declared, "deps"):
        elsewhere = locked.get(path) if holder(path, made) else None
        flat[path] = made[path] if path in made else md5(path) or elsewhere
    return flat


def outputs() -> list[str]:
    """List what the stages write, without what git keeps."""
    written = (paths(stage, "outs", "metrics", "plots") for stage in stages(*params.PIPELINES).values())
    return [path for of_stage in written for path, flags in of_stage.items() if flags.get("cache", True)]


def made() -> dict[str, str]:
    """List what came out of every stage in the lock files: the md5 of every path."""
    return {path: md5 for locked in stages(*LOCKS).values() for path, md5 in outs(locked).items()}


def spoilt(declared: dict, made: Mapping[str, str]) -> list[str]:
    """List a stage's deps that another stage wrote and that are no more what dvc.lock says of them.

    DVC hashes nothing that is read-only in its cache, and takes a file that has changed in the workspace for new data.
    """
    return [path for path in paths(declared, "deps") if path in made and Path(path).exists() and md5(path) != made[path]]


def md5(path: str) -> str | None:
    """Compute the md5 of a file or folder as DVC 3 does, of bytes as they are. A missing path has None.

    A folder's md5 is that of the list of its files and their md5s.
    """
    if not Path(path).is_dir():
        return files.digest_of(path, "md5") if Path(path).is_file() else None
    return hashlib.md5(json.dumps(listed(path)).encode()).hexdigest() + ".dir"


def listed(folder: str) -> list[dict[str, str]]:
    """List a folder's files with their md5s, as DVC keeps it in the cache."""
    names = sorted(file.relative_to(folder).as_posix() for file in files.of(folder))
    with ThreadPoolExecutor(environment.THREADS) as pool:
        sums = pool.map(md5, [f"{folder}/{name}" for name in names])
        return [{"md5": sum, "relpath": name} for name, sum in zip(names, sums, strict=True)]
