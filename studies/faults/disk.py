"""Disks that fill up, and quotas that are used up, in every stage."""

import os
import random
import shutil
import subprocess
from collections.abc import Sequence

from stages.core import lockfile
from studies.faults.ground import REPRO, Fault, Ground, beside, brief, twin

SIZE = "3g"  # of the small file system, which memory holds
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
    from tools import mend

    damaged = [*mend.objects(ground.cache), *mend.runs(ground.folder / ".dvc/cache/runs")]
    return f"under its final name, and not whole: {', '.join(map(str, damaged))}" if damaged else None


def over_quota(ground: Ground, fault: Fault, stage: str, outs: list[str], number: int) -> None:
    """Let the n-th write into a stage's outs fail as over a quota."""
    ground.forget(stage)
    places = [word for out in outs for path in (out, ground.folder / out) for word in ("-P", str(path))]
    words = [shutil.which("strace"), "-f", "-qq", "-o", os.devnull, *places, "-e", "trace=write,openat,mkdir"]
    status, said = ground.run(*words, "-e", f"inject=write,openat,mkdir:error=EDQUOT:when={number}+", "python", "-m", *REPRO)
    if status:
        wrong, again = refused(status, said), ground.again()
        fault.note(f"{stage}, call {number}", wrong or again)


def run(grounds: Sequence[Ground], seconds: dict[str, float], points: int, seed: int) -> list[Fault]:
    rng, faults = random.Random(seed), []
    entries = {entry["cmd"].rpartition("stages.")[2]: entry for entry in grounds[0].right().values()}
    sizes = {stage: sum(out.get("size", 0) for out in entry["outs"]) for stage, entry in entries.items()}
    mounts = [ground.folder.parent / f"small{number}" for number, ground in enumerate(grounds)]
    for mount in mounts:
        mount.mkdir(exist_ok=True)
    try:
        for mount in mounts:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", mount], check=True, capture_output=True)
        small = [twin(ground, mount / "project") for ground, mount in zip(grounds, mounts)]
        faults.append(full := Fault("a file system that fills up"))
        places = [(stage, SPARE + int(rng.random() * 2 * sizes[stage])) for _ in range(points) for stage in seconds]
        works = [lambda ground, place=place: filled(ground, full, *place) for place in places]
        beside(works, small)
    except (subprocess.CalledProcessError, FileNotFoundError):
        print("not tried: a file system that fills up: this user may mount none", flush=True)
    finally:
        for mount in mounts:
            subprocess.run(["umount", mount], capture_output=True)
    if shutil.which("strace"):
        faults.append(quota := Fault("a quota that is used up"))
        places = [(stage, list(lockfile.outs(entries[stage])), rng.randint(1, 3)) for stage in seconds]
        works = [lambda ground, place=place: over_quota(ground, quota, *place) for place in places]
        beside(works, grounds)
    return faults
