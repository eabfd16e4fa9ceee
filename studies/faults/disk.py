"""Disks that fill up, and quotas that are used up, in every stage."""

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator

from littledata.core import lockfile
from studies.faults.ground import REPRO, Lacking, Place, Tried, clear, kind
from studies.faults.kill import strace

SIZE = "3g"  # of the small file system, which memory holds
WRITES = "write,pwrite64,mkdir,rename,renameat,renameat2"
SPARE = 64 << 10  # bytes; with less DVC could not even begin
WORDS = ("disk is full", "No space left", "no space left", "quota", "Disk quota exceeded", "database or disk is full")


@contextlib.contextmanager
def mounted(place: Place) -> Iterator[None]:
    """A small file system of its own as the folder `small`. Raises Lacking where this user may mount none."""
    folder = place.folder / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError):
        raise Lacking("this user may mount no file system") from None
    try:
        yield
    finally:
        subprocess.run(["umount", folder], capture_output=True)


@kind("a file system that fills up")
def filled(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Leave some bytes free, run, make room, run again. What lies under its final name in the cache has to be whole, even then."""
    with mounted(place):
        ground, stage = place.ground("small/project"), rng.choice(list(place.seconds))
        outs = ground.right()[stage.rpartition(".")[2]]["outs"]
        free = SPARE + int(rng.random() * 2 * sum(out.get("size", 0) for out in outs))
        ground.forget(stage)
        room, filler = os.statvfs(ground.folder), ground.folder.parent / "filler"
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, room.f_bavail * room.f_frsize - free))
        status, printed = ground.run(*REPRO)
        failure = clear(status, printed, *WORDS)
        if status and (damaged := ground.damaged()):
            failure = failure or f"under its final name, and not whole: {', '.join(map(str, damaged))}"
        filler.unlink()
        yield Tried(f"{stage}, {free >> 10} KB free", failure or ground.again())


@kind("a quota that is used up")
def over_quota(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Let the n-th write into a stage's outs, and all after it, fail as over a quota."""
    path, ground, stage, number = strace(), place.ground(), rng.choice(list(place.seconds)), rng.randint(1, 3)
    outs = lockfile.outs(ground.right()[stage.rpartition(".")[2]])
    ground.forget(stage)
    places = [word for out in outs for path in (out, ground.folder / out) for word in ("-P", str(path))]
    words = [path, "-f", "-qq", "--seccomp-bpf", "-o", os.devnull, *places, "-e", f"trace={WRITES}"]
    status, printed = ground.run(*words, "-e", f"inject={WRITES}:error=EDQUOT:when={number}+", "python", "-m", *REPRO)
    if status:
        yield Tried(f"{stage}, call {number}", clear(status, printed, *WORDS) or ground.again())
