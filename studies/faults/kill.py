"""kill -9, spread by seed over every stage: the process group, DVC alone, or the stage alone; and around every rename."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence

import psutil

from studies.faults.ground import REPRO, SECONDS, Fault, Ground, Work, beside, brief, of_stage

TARGETS = ("the process group", "DVC alone", "the stage alone")
RENAMES = "rename,renameat,renameat2"
COMMANDS = {
    "dvc repro": REPRO,
    "dvc exp run": ("dvc", "exp", "run"),
    "make repro": ("tools.repro",),
}


def strike(process: subprocess.Popen, target: str, stage: str) -> None:
    """Kill what is the target, with no warning. A stage that has lost its DVC may be there still when this returns."""
    threading.Thread(target=process.stdout.read, daemon=True).start()
    if target == TARGETS[0]:
        with contextlib.suppress(ProcessLookupError):  # it was faster
            os.killpg(process.pid, signal.SIGKILL)
    elif target == TARGETS[1]:
        process.kill()
    elif found := of_stage(process, stage):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.kill()
    process.wait(timeout=SECONDS)


def in_stage(ground: Ground, fault: Fault, stage: str, after: float, target: str) -> None:
    """Kill so many seconds after a stage has begun, and run again."""
    ground.forget(stage)
    process = ground.start(*REPRO)
    while process.poll() is None and not of_stage(process, stage):
        time.sleep(0.02)
    time.sleep(after)
    strike(process, target, stage)
    fault.note(f"{stage} after {after:.1f} s, {target}", ground.again())


def at_rename(ground: Ground, fault: Fault, stage: str, number: int) -> None:
    """Kill whichever process, DVC or the stage, is the first with an n-th rename, at that. (By --seccomp-bpf strace kills none.)"""
    ground.forget(stage)
    words = [shutil.which("strace"), "-f", "-qq", "-o", os.devnull, "-e", f"trace={RENAMES}"]
    inject = [*words, "-e", f"inject={RENAMES}:signal=SIGKILL:when={number}"]
    if ground.run(*inject, "python", "-m", *REPRO)[0]:  # else nobody has renamed so often
        fault.note(f"{stage}, rename {number}", ground.again())


def in_command(ground: Ground, fault: Fault, name: str, stage: str, after: float, target: str) -> None:
    """Kill a whole command after so many seconds, and type it again."""
    ground.forget(stage)
    process = ground.start(*COMMANDS[name])
    time.sleep(after)
    strike(process, target, stage)
    status, said = ground.typed(*COMMANDS[name])
    if status:
        wrong = f"the second run ended with {status}: {brief(said)}"
    else:
        wrong = ground.again()  # what an experiment does not run, and HEAD where the first one left it
    ground.git("checkout", "-q", "-f", "main")
    fault.note(f"{after:.1f} s, {target}, {stage} due", wrong)


def run(grounds: Sequence[Ground], seconds: dict[str, float], until: float, seed: int) -> list[Fault]:
    """In every stage, around its renames, and in whole commands, round after round in an order that the seed draws."""
    rng, inside, renames = random.Random(seed), Fault("kill -9 inside of a stage"), Fault("kill -9 at a rename")
    whole = {name: Fault(f"kill -9 of {name}") for name in COMMANDS}

    def works() -> Iterator[Work]:
        for number in itertools.count():
            round_: list[tuple] = []
            for place, (stage, took) in enumerate(seconds.items()):
                round_.append((in_stage, inside, stage, rng.uniform(0, took), TARGETS[(number + place) % 3]))
                if shutil.which("strace"):
                    round_.append((at_rename, renames, stage, rng.randint(1, 6)))
            for name, target in itertools.product(COMMANDS, TARGETS * 2):
                stage = rng.choice(list(seconds)[:9])  # an experiment runs no others
                round_.append((in_command, whole[name], name, stage, rng.uniform(0.5, 3 + seconds[stage]), target))
            for kill, *words in rng.sample(round_, len(round_)):
                yield lambda ground, kill=kill, words=words: kill(ground, *words)

    beside(works(), grounds, until)
    return [inside, renames, *whole.values()]
