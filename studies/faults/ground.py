"""Where faults are inflicted: fresh copies of a working tree in which the whole DAG has run once, undisturbed."""

import contextlib
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from ruamel.yaml import YAML

from littledata.core import lockfile
from littledata.core.errors import UserError
from littledata.photos import fetch, sources
from studies import copies, measure
from tools import mend

NOBODY = {f"GIT_{role}_{key}": "faults" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
REPRO = ("dvc", "repro", "--all-pipelines")
SECONDS = 600  # more than any command here takes, on a busy machine
# What stages, or DVC, say where the answer is `make mend`, by docs/faults.md.
MEND = re.compile(
    r"make mend|'[^']*dvc\.lock' validation failed|in line \d+, column \d+|join\(\) argument must be str|failed.*'outs'"
    r"|unable to read: '[^']*/runs/|RWLock-file"
)


class Tried(NamedTuple):
    """A fault that was inflicted. `failure` says what was not survived, None if all was; `times` counts several at once."""

    where: str
    failure: str | None
    times: int = 1


class Lacking(Exception):
    """A kind of fault can't be inflicted on this machine; the message says what it takes."""


@dataclass
class Kind:
    """A kind of fault, and what became of it. `inflict` yields nothing where it came too late, for example for a kill."""

    name: str
    group: str
    inflict: Callable[["Place", random.Random], Iterator[Tried]]
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    lacks: str | None = None
    begun: int = 0
    seconds: float = 0
    running: bool = False

    def note(self, one: Tried) -> None:
        self.tried += one.times
        if one.failure:
            self.failures.append(f"{one.where}: {one.failure}")
            print(f"  {self.name}, {one.where}: {one.failure}", flush=True)

    def row(self) -> dict:
        lacks = {"not_tried": self.lacks or "it came too late each time"} if not self.tried else {}
        row = {"fault": self.name, "tried": self.tried, "survived": self.tried - len(self.failures), "failures": self.failures}
        return row | lacks


KINDS: list[Kind] = []


def kind(name: str, *words: object) -> Callable:
    """Register a function as a kind of fault of its module's group; `words` are its first arguments."""

    def register(inflict: Callable[..., Iterator[Tried]]) -> Callable[..., Iterator[Tried]]:
        KINDS.append(Kind(name, inflict.__module__.rpartition(".")[2], functools.partial(inflict, *words)))
        return inflict

    return register


class Ground:
    """A folder in which the DAG has run, and the lock entries that it ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.locks = {str(name): self.locked(name) for name in lockfile.LOCKS}

    def locked(self, name: str | Path) -> dict[str, dict]:
        """The stages that a lock file has here."""
        return lockfile.load((self.folder / name).read_text(), str(name))

    def right(self) -> dict[str, dict]:
        """Every stage's lock entry of the undisturbed run."""
        return {stage: entry for stages in self.locks.values() for stage, entry in stages.items()}

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
        watchdog = threading.Timer(SECONDS, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        printed = process.communicate()[0]
        watchdog.cancel()
        return process.returncode, printed

    def git(self, *words: str) -> str:
        words = ("git", "-c", "core.quotepath=off", *words)
        return subprocess.run(words, cwd=self.folder, env=os.environ | NOBODY, check=True, capture_output=True, text=True).stdout

    def changed(self) -> list[str]:
        """The files that differ from the last commit of the undisturbed run, or are not in it."""
        return self.git("diff", "--name-only", "main").splitlines() + self.git("ls-files", "-o", "--exclude-standard").splitlines()

    @functools.cached_property
    def cache(self) -> Path:
        """DVC's files by their md5s."""
        return Path(self.run("dvc", "cache", "dir")[1].strip(), "files/md5")

    def runs(self, stage: str) -> list[Path]:
        """The run cache's entries of a stage."""
        return [path for path in self.folder.glob(".dvc/cache/runs/*/*/*") if f"python -m stages.{stage}\n" in path.read_text()]

    def forget(self, stage: str) -> None:
        """Make a stage due again: neither the lock, nor the run cache, nor the workspace has it."""
        for folder in {path.parent for path in self.runs(stage)}:  # at an empty one DVC stumbles
            shutil.rmtree(folder)
        last = stage.rpartition(".")[2]
        for name in self.locks:
            stages = dict(self.locked(name))
            if entry := stages.pop(last, None):
                YAML(typ="safe", pure=True).dump({"schema": "2.0", "stages": stages}, self.folder / name)
                for out in map(self.folder.joinpath, lockfile.outs(entry)):
                    shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)

    def damaged(self) -> list[Path]:
        """What is not whole in DVC's cache. A copy that DVC had written whole, and not yet renamed, is in nobody's way."""
        runs = mend.runs(self.folder / ".dvc/cache/runs")
        return [*mend.objects(self.cache), *(path for path in runs if path.suffix != ".tmp")]

    def wrong(self) -> str | None:
        """In what this folder differs from an undisturbed run's; None if in nothing."""
        for name, right in self.locks.items():  # a stage that was forgotten comes last
            stages = self.locked(name)
            if different := [stage for stage in right | stages if stages.get(stage) != right.get(stage)]:
                return f"{name} differs in {', '.join(different)}"
        damaged = self.damaged()
        for entry in self.right().values():
            damaged += [path for path, md5 in lockfile.outs(entry).items() if lockfile.md5(str(self.folder / path)) != md5]
        left = [path for path in self.folder.rglob("*.part") if ".git" not in path.parts]
        changed = [name for name in self.changed() if name not in self.locks]
        if damaged or left or changed:
            return f"damaged, changed or left behind: {', '.join(map(str, [*damaged, *left, *changed]))}"
        return None

    def typed(self, *words: str, **environment: str) -> tuple[int, str]:
        """Type a command, and once more where what it says asks for that: after the end of what still runs, or after `make mend`.
        Returns its last status and words."""
        status, printed = self.run(*words, **environment)
        if status and (runs := re.search(r"still runs here, as process (\d+)\. Wait for its end", printed)):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(int(runs[1])).wait(SECONDS)
            status, printed = self.run(*words, **environment)
        if status and MEND.search(printed) and "Traceback (most" not in printed:
            self.run("tools.mend")
            status, printed = self.run(*words, **environment)
        return status, printed

    def again(self, *words: str, **environment: str) -> str | None:
        """Type the same command again; returns what is wrong afterwards, or None."""
        status, printed = self.typed(*(words or REPRO), **environment)
        return f"the second run ended with {status}: {brief(printed)}" if status else self.wrong()


def brief(printed: str) -> str:
    """The end of what a command printed, on a line; with the word Traceback if there was one."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return " / ".join((["Traceback"] if "Traceback (most" in printed else []) + lines[-3:])[-600:]


def clear(status: int, printed: str, *words: str) -> str | None:
    """What is wrong with how a command has failed: it has to be in words, one of `words` among them if there are any."""
    if not status:
        return None
    if "Traceback (most" in printed:
        return f"a traceback: {brief(printed)}"
    return None if not words or any(word in printed for word in words) else f"the reason is not named: {brief(printed)}"


def of_stage(process: subprocess.Popen, stage: str) -> psutil.Process | None:
    """The process of a stage that a command has started."""
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    return next((child for child in children if words_of(child)[-2:] == ["-m", f"stages.{stage}"]), None)


def words_of(process: psutil.Process) -> list[str]:
    """The words of a process; none of one that has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


class First:
    """The working tree in which the DAG runs once, undisturbed, on photos in a folder beside it; later runs take what is there.

    `seconds` has what each stage took, in order; `photos` is that folder.
    """

    def __init__(self, base: Path) -> None:
        self.folder, self.photos, note = base / "first", base / "photos", base / "first.json"
        if not note.exists():
            for half_made in self.folder, self.photos:
                shutil.rmtree(half_made, ignore_errors=True)
            seconds = self.make()
            note.write_text(json.dumps({"seconds": seconds, "files": listing(self.folder)}))
        made = json.loads(note.read_text())
        self.seconds: dict[str, float] = made["seconds"]
        self.files: dict[str, list[int]] = made["files"]

    def make(self) -> dict[str, float]:
        copies.workspace(self.folder)
        changes = [f"download.path={json.dumps(str(self.photos))}", "download.source=path", "download.sha256=null"]
        copies.write_params(self.folder, copies.settings("tiny", changes))
        # The one time with a network: what the project's own downloads lack.
        measure.run("tools.cifar10", str(self.photos), "cat=48", "dog=48", folder=self.folder)
        measure.run("stages.pretrained", folder=self.folder)
        for shared in (".cache/downloads", ".cache/memo"):
            (self.folder / shared).unlink()
        shutil.copytree(fetch.CACHE, self.folder / fetch.CACHE)
        for lock in lockfile.LOCKS:
            (self.folder / lock).write_text("schema: '2.0'\nstages: {}\n")
        ground = Ground(self.folder)
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "before the run"]):
            ground.git(*words)
        process, begun, printed = ground.start("tools.repro", "--photos", str(self.photos)), {}, []
        for line in process.stdout:
            printed.append(line)
            if found := re.search(r"python -m stages\.([\w.]+)", line):
                begun.setdefault(found[1], time.monotonic())
        if process.wait():
            sys.exit("the undisturbed run failed:\n" + "".join(printed))
        ends = [*begun.values(), time.monotonic()][1:]
        for words in (["add", "-A"], ["commit", "-qm", "undisturbed"]):
            ground.git(*words)
        return {stage: end - start for (stage, start), end in zip(begun.items(), ends, strict=True)}


def listing(folder: Path) -> dict[str, list[int]]:
    """Size and time of all files below a folder."""
    files = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    return {name: [about.st_size, about.st_mtime_ns] for name, about in sorted(files.items())}


class Place:
    """A folder for one fault at a time: each gets grounds of its own, and nothing stays."""

    def __init__(self, folder: Path, first: First) -> None:
        self.folder, self.first, self.seconds = folder, first, first.seconds

    def ground(self, name: str = "ground") -> Ground:
        """A fresh copy of the first ground. Raises UserError where it isn't what the undisturbed run left: another fault's traces
        would be taken for this one's."""
        folder = self.folder / name
        subprocess.run(["cp", "-a", "--reflink=auto", self.first.folder, folder], check=True)
        files = listing(folder)
        odd = sorted(name for name in files | self.first.files if files.get(name) != self.first.files.get(name))
        if odd := odd or (ground := Ground(folder)).changed():
            raise UserError(f"the ground is not clean: {', '.join(odd[:5])}")
        return ground

    def inflict(self, one: Kind, rng: random.Random) -> None:
        """Inflict a fault, on an empty place, and take note of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        start, one.begun = time.monotonic(), one.begun + 1
        try:
            for tried in one.inflict(self, rng):
                one.note(tried)
        except Lacking as error:
            one.lacks = str(error)
        except Exception as error:  # of the harness, or of a ground that is not clean
            one.note(Tried("not inflicted", f"{type(error).__name__}: {error}"))
        finally:
            one.seconds += time.monotonic() - start
            one.running = False
