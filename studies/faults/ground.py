"""Where faults are inflicted: a copy of the working tree, in a repository of its own, in which the tiny recipe has run once."""

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from littledata.core import lockfile, params
from littledata.photos import fetch, sources
from studies import sets
from tools import mend, recipe

NOBODY = {f"GIT_{role}_{key}": "faults" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
REPRO = ("dvc", "repro", "--all-pipelines")
SECONDS = 600  # more than any command here takes, on a busy machine
# What stages, or DVC, say where the answer is `make mend`, by docs/faults.md.
MEND = re.compile(
    r"make mend|'[^']*dvc\.lock' validation failed|in line \d+, column \d+|join\(\) argument must be str|failed.*'outs'"
    r"|unable to read: '[^']*/runs/|RWLock-file"
)


@dataclass
class Fault:
    """What was tried, how often, and what became of it."""

    name: str
    tried: int = 0
    survived: int = 0
    failures: list[str] = field(default_factory=list)  # what went wrong, for whoever mends it

    def note(self, where: str, failure: str | None, count: int = 1) -> None:
        """Count a try, or so many at once; `failure` says what went wrong, if anything did, with one of them."""
        self.tried += count
        self.survived += count - bool(failure)
        if failure:
            self.failures.append(f"{where}: {failure}")
            print(f"  {self.name}, {where}: {failure}", flush=True)


class Ground:
    """A folder in which the DAG has run, and the hashes that it ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stages = {name: self.locked(name) for name in map(str, lockfile.LOCKS)}

    def locked(self, name: str) -> dict[str, dict]:
        """The stages that a lock file has here."""
        return lockfile.load((self.folder / name).read_text(), name)

    def right(self) -> dict[str, dict]:
        """Every stage's lock entry of the undisturbed run."""
        return {stage: entry for stages in self.stages.values() for stage, entry in stages.items()}

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        """Start a module in a process group of its own, without a network."""
        env = {name: value for name, value in os.environ.items() if name not in ("DVC_ROOT", sources.ARCHIVE_VARIABLE)}
        env |= NOBODY | NO_NETWORK | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environment
        command = [*words] if "/" in words[0] else [sys.executable, "-m", *words]
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.folder, env=env, text=True, errors="replace", start_new_session=True, **streams)

    def run(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run a module to its end; returns its exit status and what it printed."""
        process = self.start(*words, **environment)
        try:
            said = process.communicate(timeout=SECONDS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return -1, f"{process.communicate()[0]}\nnot over after {SECONDS} s"
        return process.returncode, said

    def git(self, *words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=self.folder, env=os.environ | NOBODY, check=True, capture_output=True, text=True
        ).stdout

    @functools.cached_property
    def cache(self) -> Path:
        """DVC's files by their md5s."""
        return Path(self.run("dvc", "cache", "dir")[1].strip(), "files/md5")

    def runs(self, stage: str) -> list[Path]:
        """The run cache's entries of a stage."""
        return [path for path in self.folder.glob(".dvc/cache/runs/*/*/*") if f"python -m stages.{stage}\n" in path.read_text()]

    def forget(self, stage: str) -> None:
        """Make a stage due again: neither the lock, nor the run cache, nor the workspace has it."""
        for folder in {path.parent for path in self.runs(stage)}:  # a killed DVC may have left a copy beside the entry
            shutil.rmtree(folder)  # at an empty one DVC stumbles
        for name in self.stages:
            stages = self.locked(name)
            if entry := stages.pop(stage.rpartition(".")[2], None):
                YAML(typ="safe", pure=True).dump({"schema": "2.0", "stages": stages}, self.folder / name)
                for out in map(self.folder.joinpath, lockfile.outs(entry)):
                    shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)

    def damaged_runs(self) -> list[Path]:
        """What is wrong in the run cache. A copy that DVC had written whole, and not yet renamed, is in nobody's way."""
        return [path for path in mend.runs(self.folder / ".dvc/cache/runs") if path.suffix != ".tmp"]

    def wrong(self) -> str | None:
        """In what this folder differs from an undisturbed run's; None if in nothing."""
        for name, rights in self.stages.items():  # a stage that was forgotten comes last
            stages = self.locked(name)
            if different := [stage for stage in rights | stages if stages.get(stage) != rights.get(stage)]:
                return f"{name} differs in {', '.join(different)}"
        damaged = [*mend.objects(self.cache), *self.damaged_runs()]
        for entry in self.right().values():
            damaged += [path for path, md5 in lockfile.outs(entry).items() if lockfile.md5(str(self.folder / path)) != md5]
        mend.remove_half_written(self.folder)  # as the next `make repro` does
        left = [path for path in self.folder.rglob("*.part") if ".git" not in path.parts]
        if damaged or left:
            return f"damaged or left behind: {', '.join(map(str, [*damaged, *left]))}"
        return None

    def typed(self, *words: str, **environment: str) -> tuple[int, str]:
        """Type a command, and once more where what it says asks for that: after the end of what still runs, or after `make mend`.
        Returns its last status and words."""
        status, said = self.run(*words, **environment)
        if status and (runs := re.search(r"still runs here, as process (\d+)\. Wait for its end", said)):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(int(runs[1])).wait(SECONDS)
            status, said = self.run(*words, **environment)
        if status and MEND.search(said) and "Traceback (most" not in said:
            self.run("tools.mend")
            status, said = self.run(*words, **environment)
        return status, said

    def again(self, *words: str, **environment: str) -> str | None:
        """Type the same command again; returns what is wrong afterwards, or None."""
        status, said = self.typed(*(words or REPRO), **environment)
        return f"the second run ended with {status}: {brief(said)}" if status else self.wrong()


def brief(said: str) -> str:
    """The end of what a command printed, on a line; with the word Traceback if there was one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " / ".join((["Traceback"] if "Traceback (most" in said else []) + lines[-3:])[-600:]


def of_stage(process: subprocess.Popen, stage: str) -> psutil.Process | None:
    """The process of a stage that a command has started."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.cmdline()[-2:] == ["-m", f"stages.{stage}"]:
                    return child
    return None


def make(folder: Path) -> tuple[Ground, dict[str, float]]:
    """Make a ground and let the whole DAG run in it; returns it, and the seconds that each stage took. What is there is taken."""
    notes = folder.with_suffix(".json")
    if notes.exists():
        return Ground(folder), json.loads(notes.read_text())
    shutil.rmtree(folder, ignore_errors=True)  # half of one that was killed
    copy = sets.workspace(folder)
    settings = recipe.changed_by(params.read(params.PARAMS), recipe.changes("tiny"))
    settings["download"] |= {"source": "cifar10", "sha256": None}
    YAML(typ="safe", pure=True).dump(settings, copy / params.PARAMS)
    for stage in sets.ONCE:  # the one time with a network: what the project's own downloads lack
        sets.run(copy, stage)
    for shared in (".cache/downloads", ".cache/memo"):
        (copy / shared).unlink()
    shutil.copytree(fetch.CACHE, copy / fetch.CACHE)
    for lock in lockfile.LOCKS:
        (copy / lock).write_text("schema: '2.0'\nstages: {}\n")
    ground = Ground(copy)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "before the run"]):
        ground.git(*words)
    seconds: dict[str, float] = {}
    process, name, start = ground.start(*REPRO), "", time.monotonic()
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"python -m stages\.([\w.]+)", line):
            if name:
                seconds[name] = time.monotonic() - start
            name, start = found[1], time.monotonic()
    if process.wait():
        sys.exit("the undisturbed run failed:\n" + "".join(said))
    seconds[name] = time.monotonic() - start
    for words in (["add", "-A"], ["commit", "-qm", "undisturbed"]):
        ground.git(*words)
    notes.write_text(json.dumps(seconds))
    return Ground(copy), seconds


def twin(ground: Ground, folder: Path) -> Ground:
    """A ground once more, for whoever works beside it, or where the first one may be spoilt."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", ground.folder, folder], check=True)
    return Ground(folder)


Work = Callable[[Ground], None]


def beside(works: Iterable[Work], grounds: Sequence[Ground], until: float) -> None:
    """Do works, one in each ground at a time, as many as fit: at least one each, and none that the longest so far would make too
    late. `until` is a time of `time.monotonic`."""
    works, one, longest = iter(works), threading.Lock(), 0.0

    def some(ground: Ground) -> None:
        nonlocal longest
        while True:
            start = time.monotonic()
            if longest and start + longest > until:
                return
            with one:
                work = next(works, None)
            if not work:
                return
            work(ground)
            longest = max(longest, time.monotonic() - start)

    with ThreadPoolExecutor(len(grounds)) as pool:
        list(pool.map(some, grounds))


def rounds(until: float, shares: int) -> Iterator[int]:
    """Count the rounds that fit into one of so many shares of the time that is left: one at least."""
    start = time.monotonic()
    end = start + (until - start) / shares
    for number in itertools.count():
        begun = time.monotonic()
        yield number
        if 2 * time.monotonic() - begun > end:
            return
