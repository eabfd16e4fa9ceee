"""Disks that fill up, and quotas that are used up, in every stage."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence

from littledata.core import lockfile
from studies.faults.ground import REPRO, Fault, Ground, Work, beside, brief, twin
from tools import mend

SIZE = "3g"  # of the small file system, which memory holds
WRITES = "write,pwrite64,mkdir,rename,renameat,renameat2"
SPARE = 64 << 10  # bytes; with less DVC could not even begin


def refused(status: int, said: str) -> str | None:
    """What is wrong with how a command has failed; None if it did so in words."""
    if not status:
        return None  # it needed less room than was left
    words = ("disk is full", "No space left", "no space left", "quota", "Disk quota exceeded", "database or disk is full")
    if "Traceback (most" in said:
        return f"a traceback: {brief(said)}"
    return None if any(word in said for word in words) else f"the disk is not named: {brief(said)}"


def filled(ground: Ground, fault: Fault, stage: str, left: int) -> None:
    """Leave so many bytes free, run, make room, run again."""
    ground.forget(stage)
    filler = ground.folder.parent / "filler"
    room = os.statvfs(ground.folder)
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail * room.f_frsize - left))
    status, said = ground.run(*REPRO)
    wrong = refused(status, said) or (None if not status else whole(ground))
    filler.unlink()
    again = ground.again()
    fault.note(f"{stage}, {left >> 10} KB free", wrong or again)


def whole(ground: Ground) -> str | None:
    """What lies under its final name in the cache has to be whole, even now."""
    damaged = [*mend.objects(ground.cache), *ground.damaged_runs()]
    return f"under its final name, and not whole: {', '.join(map(str, damaged))}" if damaged else None


def over_quota(ground: Ground, fault: Fault, stage: str, outs: list[str], number: int) -> None:
    """Let the n-th write into a stage's outs, and all after it, fail as over a quota."""
    ground.forget(stage)
    places = [word for out in outs for path in (out, ground.folder / out) for word in ("-P", str(path))]
    words = [shutil.which("strace"), "-f", "-qq", "--seccomp-bpf", "-o", os.devnull, *places, "-e", f"trace={WRITES}"]
    status, said = ground.run(*words, "-e", f"inject={WRITES}:error=EDQUOT:when={number}+", "python", "-m", *REPRO)
    if status:
        wrong, again = refused(status, said), ground.again()
        fault.note(f"{stage}, call {number}", wrong or again)


def run(grounds: Sequence[Ground], seconds: dict[str, float], until: float, seed: int) -> list[Fault]:
    rng, full, quota = random.Random(seed), Fault("a file system that fills up"), Fault("a quota that is used up")
    entries = {entry["cmd"].rpartition("stages.")[2]: entry for entry in grounds[0].right().values()}

    def filling() -> Iterator[Work]:
        while True:
            for stage in rng.sample(list(seconds), len(seconds)):
                left = SPARE + int(rng.random() * 2 * sum(out.get("size", 0) for out in entries[stage]["outs"]))
                yield lambda ground, stage=stage, left=left: filled(ground, full, stage, left)

    def over() -> Iterator[Work]:
        while True:
            for stage in rng.sample(list(seconds), len(seconds)):
                words = stage, list(lockfile.outs(entries[stage])), rng.randint(1, 3)
                yield lambda ground, words=words: over_quota(ground, quota, *words)

    mounts = [ground.folder.parent / f"small{number}" for number, ground in enumerate(grounds)]
    for mount in mounts:
        mount.mkdir(exist_ok=True)
    try:
        for mount in mounts:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", mount], check=True, capture_output=True)
        small = [twin(ground, mount / "project") for ground, mount in zip(grounds, mounts)]
        beside(filling(), small, (time.monotonic() + until) / 2)
    except (subprocess.CalledProcessError, FileNotFoundError):
        print("not tried: a file system that fills up: this user may mount none", flush=True)
    finally:
        for mount in mounts:
            subprocess.run(["umount", mount], capture_output=True)
    if shutil.which("strace"):
        beside(over(), grounds, until)
    return [full, quota]
