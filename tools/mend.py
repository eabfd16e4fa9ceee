"""Find what a disk has damaged in DVC's cache and among the stages' outputs, and remove it. `make mend`

    python -m tools.mend

DVC takes what is read-only in its cache for what was once written there, and hashes it no second time. This hashes every file of
the cache, and every output in the workspace against dvc.lock. What differs is named and removed: then `dvc repro` makes it anew,
or `dvc pull` brings it. A dvc.lock that a kill has cut off keeps its whole stages. What else is in git, and what no stage has
written, stays as it is.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dvc.dvcfile import Lockfile
from dvc.lock import LockError, make_lock
from dvc.repo import Repo
from dvc.repo.experiments.utils import EXEC_TMP_DIR
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
from dvc.utils import dict_sha256
from dvc.utils.serialize import load_yaml, parse_yaml
from voluptuous import Invalid

from littledata.core import command, environment, files, lockfile
from tools import back


def locks() -> Iterator[Path]:
    """The lock files that end in the middle, which are cut back to their last whole stage on the way.

    DVC writes them in place, stage by stage, and can read none that a kill has left half-written. What it then lacks comes from the
    run cache. A merge's conflicts are for people to resolve.
    """
    for path in filter(Path.exists, lockfile.LOCKS):
        text = path.read_bytes().decode(errors="ignore")
        if not (readable(text) or re.search("^<<<<<<< ", text, re.MULTILINE)):
            ends = [stage.start() for stage in re.finditer("^  (?=[^ -])", text, re.MULTILINE)]
            whole = next((text[:end] for end in reversed(ends) if readable(text[:end])), "")
            path.unlink()  # it may be a link to a file of another workspace
            if whole:
                path.write_text(whole)
            yield path


def readable(lock: str) -> bool:
    try:
        return bool(Lockfile.validate(parse_yaml(lock, "")))
    except Exception:  # no YAML, or stages that have only begun
        return False


def rwlocks(repo: Repo) -> Iterator[Path]:
    """DVC's lists of who reads and writes what just now, where a kill has left one empty or cut off: DVC writes them in place."""
    for folder in Path(repo.tmp_dir), Path(repo.tmp_dir, EXEC_TMP_DIR):
        path, guard = folder / RWLOCK_FILE, str(folder / RWLOCK_LOCK)
        if path.exists():
            with make_lock(guard, tmp_dir=str(folder), hardlink_lock=repo.config["core"]["hardlink_lock"]):
                try:
                    SCHEMA(json.loads(path.read_text()))
                except (ValueError, Invalid):
                    yield path


def remove_half_written(project: Path = Path()) -> None:
    """Remove what stages had begun to write when they were killed: it lies beside where it was to be, and is in nobody's way."""
    folders = {project / Path(path).parent for path in back.written()}
    for folder in {*folders, *(project / ".cache").glob("*"), *(project / ".cache/shards").glob("*")}:
        files.remove_abandoned(folder)


def objects(cache: Path) -> Iterator[Path]:
    """The files of DVC's cache whose content is not what their name says."""
    paths = [path for path in files.of(cache) if len(path.parent.name) == 2 and len(path.stem) == 30]
    with ThreadPoolExecutor(environment.THREADS) as pool:
        digests = pool.map(lambda path: files.digest_of(path, "md5"), paths)
        yield from (path for path, md5 in zip(paths, digests, strict=True) if md5 != path.parent.name + path.stem)


def runs(folder: Path) -> Iterator[Path]:
    """The entries of the run cache that are not what was written, and folders without one, at which DVC stumbles."""
    for path in files.of(folder):
        try:
            right = dict_sha256(load_yaml(path), exclude=["size", "nfiles"]) == path.name
        except Exception:  # no YAML, or another tree than DVC writes
            right = False
        if not right:
            yield path
    yield from (path for path in folder.glob("*/*") if path.is_dir() and not any(path.iterdir()))


def outputs(cache: Path) -> Iterator[Path]:
    """The stages' outputs in the workspace that are not what dvc.lock says: of a folder the files that differ, or, where the cache
    has no list of them, the folder."""
    made = lockfile.made()
    for path in filter(made.get, lockfile.outputs()):
        if (md5 := lockfile.md5(path)) in (None, made[path]):
            continue
        content = cache / made[path][:2] / made[path][2:]
        if md5.endswith(".dir") and content.exists():
            right = {file["relpath"]: file["md5"] for file in json.loads(content.read_text())}
            differ = [file["relpath"] for file in lockfile.listed(path) if right.get(file["relpath"], file["md5"]) != file["md5"]]
            yield from (Path(path, name) for name in differ)
        else:
            yield Path(path)


def after_a_kill() -> None:
    """Mend that at which DVC would stumble, and which takes no time to find.

    Nothing is done while another run writes just now: DVC itself says that, or waits.
    """
    with contextlib.suppress(LockError), Repo() as repo, repo.lock:
        left_by_a_kill(repo)


def left_by_a_kill(repo: Repo) -> int:
    """Mend what a killed run has left half-written; returns how much of it DVC would have stumbled at."""
    count = 0
    remove_half_written()
    for path in locks():
        print(f"{path}: cut off while DVC wrote it; its whole stages are kept, the others come from DVC's cache", flush=True)
        count += 1
    return count + removed(rwlocks(repo)) + removed(runs(Path(repo.stage_cache.cache_dir)))


def removed(damaged: Iterable[Path]) -> int:
    """Remove files or folders and name them; returns how many they were."""
    count = 0
    for path in damaged:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        print(f"{path}: not what was written, removed", flush=True)
        count += 1
    return count


def main() -> None:
    with Repo() as repo, repo.lock:
        cache = Path(repo.cache.local.path)
        count = left_by_a_kill(repo) + removed(objects(cache)) + removed(outputs(cache))
    print(f"{count} damaged. Now `dvc repro` makes them anew, or `dvc pull` brings them." if count else "Nothing is damaged.")


if __name__ == "__main__":
    command.start(main)
