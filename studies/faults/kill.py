"""kill -9 in every stage, at renames, in whole commands, and in each step of `make repro`: the process group, or a part of it."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import psutil

from studies.faults.ground import REPRO, SECONDS, Ground, Lacking, Place, Tried, brief, kind, of_stage, words_of

TARGETS = ("the process group", "the command alone", "the stage alone")
RENAMES = "rename,renameat,renameat2"
EXPERIMENT, MAKE, OTHER_FOLDER = "dvc exp run", "make repro", "make repro of another folder"
COMMANDS = {
    "dvc repro": REPRO,
    EXPERIMENT: ("dvc", "exp", "run"),
    MAKE: ("tools.repro",),
    OTHER_FOLDER: ("tools.repro", "--photos"),
}
IN_EXPERIMENTS = 9  # stages of dvc.yaml: the first ones


def strace() -> str:
    """The path of strace. Raises Lacking where there is none."""
    if not (path := shutil.which("strace")):
        raise Lacking("strace is not installed")
    return path


def drawn(place: Place, rng: random.Random) -> tuple[Ground, str, float]:
    """A ground, and one of its stages, which is due, with its seconds."""
    stage, seconds = rng.choice(list(place.seconds.items())[:IN_EXPERIMENTS])
    ground = place.ground()
    ground.forget(stage)
    return ground, stage, seconds


def command(place: Place, name: str) -> tuple[str, ...]:
    """The words of a command. Another folder has the same photos, so the same hashes follow but for those of its name."""
    if name != OTHER_FOLDER:
        return COMMANDS[name]
    folder = place.folder / "photos"
    if not folder.exists():
        shutil.copytree(place.first.photos, folder)
    return *COMMANDS[name], str(folder)


def strike(process: subprocess.Popen, target: str, stage: str) -> None:
    """Kill what is the target, with no warning. A stage that has lost its DVC may be there still when this returns."""
    threading.Thread(target=process.stdout.read, daemon=True).start()
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # it was faster
        if target == TARGETS[0]:
            os.killpg(process.pid, signal.SIGKILL)
        elif target == TARGETS[1]:
            process.kill()
        elif found := of_stage(process, stage):
            found.kill()
    process.wait(timeout=SECONDS)


def survived(place: Place, ground: Ground, name: str) -> str | None:
    """Type a killed command again, and what leads back to the undisturbed run; returns what is wrong then."""
    status, printed = ground.typed(*command(place, name))
    if status:
        return f"the second run ended with {status}: {brief(printed)}"
    if name == EXPERIMENT:
        return ground.again()  # what an experiment does not run, and HEAD where the first one left it
    return ground.again(*COMMANDS[OTHER_FOLDER], str(place.first.photos)) if name == OTHER_FOLDER else ground.wrong()


@kind("kill -9 inside of a stage")
def in_stage(place: Place, rng: random.Random) -> Iterator[Tried]:
    (stage, seconds), target, ground = rng.choice(list(place.seconds.items())), rng.choice(TARGETS), place.ground()
    ground.forget(stage)
    process, after = ground.start(*REPRO), rng.uniform(0, seconds)
    while process.poll() is None and not of_stage(process, stage):
        time.sleep(0.02)
    time.sleep(after)
    strike(process, target, stage)
    yield Tried(f"{stage} after {after:.1f} s, {target}", ground.again())


@kind("kill -9 at a rename")
def at_rename(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Kill whichever process is the first with an n-th rename, at that. (By --seccomp-bpf strace kills none.)"""
    path, number, name = strace(), rng.randint(1, 6), rng.choice(list(COMMANDS))
    ground, stage, _ = drawn(place, rng)
    inject = [path, "-f", "-qq", "-o", os.devnull, "-e", f"trace={RENAMES}", "-e", f"inject={RENAMES}:signal=SIGKILL:when={number}"]
    if ground.run(*inject, "python", "-m", *command(place, name))[0]:  # else nobody has renamed so often
        yield Tried(f"{name}, {stage} due, rename {number}", survived(place, ground, name))


def in_command(name: str, place: Place, rng: random.Random) -> Iterator[Tried]:
    """Kill a whole command after some seconds."""
    (ground, stage, seconds), target = drawn(place, rng), rng.choice(TARGETS)
    after = rng.uniform(0.5, 3 + seconds)
    process = ground.start(*command(place, name))
    time.sleep(after)
    strike(process, target, stage)
    yield Tried(f"{after:.1f} s, {target}, {stage} due", survived(place, ground, name))


for each in COMMANDS:
    kind(f"kill -9 of {each}", each)(in_command)


@kind("kill -9 in a step of make repro")
def in_step(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Kill `make repro`, or a command that it has started, soon after the n-th of these has begun."""
    (ground, stage, _), name, number = drawn(place, rng), rng.choice([MAKE, OTHER_FOLDER]), rng.randint(1, 5)
    process, steps = ground.start(*command(place, name)), {}
    while process.poll() is None and len(steps) < number:
        with contextlib.suppress(psutil.Error):
            words = {child: " ".join(words_of(child)) for child in psutil.Process(process.pid).children()}
            steps |= {child: said.rpartition("-m ")[2] for child, said in words.items() if "dvc " in said}
        time.sleep(0.02)
    if process.poll() is None:
        step, words = list(steps.items())[-1]
        time.sleep(rng.choice([0, 1, 3]) * rng.random())
        if alone := rng.random() < 0.5:
            with contextlib.suppress(psutil.NoSuchProcess):
                step.kill()
        strike(process, TARGETS[1] if alone else TARGETS[0], stage)
        yield Tried(f"{name} at `{words}`, {'it' if alone else 'all'}, {stage} due", survived(place, ground, name))
    else:
        process.communicate()


@kind("make back after a kill")
def back(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Kill a run with another param, while a file has an edit, and go back: the edit stays, and all else is as before."""
    change, ground, after = "top.dropout=0.4", place.ground(), rng.uniform(1, 20)
    words = rng.choice([("tools.repro", change), ("dvc", "exp", "run", "-S", change)])
    with open(ground.folder / "README.md", "a") as file:
        file.write("edited\n")
    process = ground.start(*words)
    time.sleep(after)
    strike(process, rng.choice(TARGETS[:2]), "top")
    _, printed = ground.typed("tools.back")
    branch, changed = ground.git("rev-parse", "--abbrev-ref", "HEAD").strip(), ground.changed()
    # What -S has set can't be told from an own edit of params.yaml, so it stays, with a line that says so.
    may_stay = {"params.yaml"} if words[0] == "dvc" and "params.yaml stays" in printed else set()
    right = branch == "main" and {*changed} - may_stay == {"README.md"}
    left = None if right else f"on {branch}, changed: {', '.join(changed)}: {brief(printed)}"
    ground.git("restore", "README.md", "params.yaml")
    yield Tried(f"{words[-1]} of {words[0]} after {after:.1f} s", left or ground.again())
