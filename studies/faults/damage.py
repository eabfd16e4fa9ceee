"""Bits that turn, and ends that are cut off: in DVC's cache and the outputs, in the run cache, and in all that lies under .cache."""

import itertools
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from littledata.core import lockfile
from studies.faults.ground import REPRO, Fault, Ground, Work, beside, brief, of_stage


def spoil(path: Path, rng: random.Random) -> str:
    """Turn one bit of a file, or cut its end, and keep its time or not, and its mode; returns what was done."""
    before, mode = path.stat(), path.stat().st_mode
    path.chmod(mode | 0o200)
    cut, keep = rng.random() < 0.3, rng.random() < 0.5
    if cut:
        os.truncate(path, int(before.st_size * rng.random()))
    else:
        with open(path, "r+b") as file:
            place = rng.randrange(max(1, before.st_size))
            file.seek(place)
            byte = file.read(1) or b"\0"
            file.seek(place)
            file.write(bytes([byte[0] ^ 1 << rng.randrange(8)]))
    if keep:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(mode)
    return ("cut" if cut else "a bit turned") + (", its time kept" if keep else "")


def in_output(ground: Ground, fault: Fault, path: str, reader: str, where: str, rng: random.Random) -> None:
    """Damage an output that another stage reads: in the workspace, in the cache, or both, which a link makes one."""
    copies = [ground.folder / path]
    if copies[0].is_dir():
        listed = sorted(file for file in copies[0].rglob("*") if file.is_file())
        copies = [rng.choice(listed)]
    md5 = lockfile.md5(str(copies[0]))
    cached = ground.cache / md5[:2] / md5[2:]
    if where != "the workspace" and not cached.samefile(copies[0]):
        copies = [cached] if where == "the cache" else [*copies, cached]
    state = rng.getstate()
    for copy in copies:
        rng.setstate(state)
        done = spoil(copy, rng)
    if copies == [cached]:  # to be used it has to come back into the workspace
        out = ground.folder / path
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        ground.run("dvc", "checkout", path)
    ground.forget(reader)
    wrong = ground.again()
    fault.note(f"{copies[0].relative_to(ground.folder)}, {where}, {done}, read by {reader}", wrong)
    if wrong:
        ground.run("tools.mend")
        ground.again()


def in_memo(ground: Ground, fault: Fault, rng: random.Random) -> None:
    files = sorted((ground.folder / ".cache/memo").rglob("*.npz"))
    done = [spoil(path, rng) for path in rng.sample(files, 5)]
    ground.forget("activations")
    fault.note(f"five files of the memo, {done[0]}", ground.again())


def in_download(ground: Ground, fault: Fault, name: str, stage: str, rng: random.Random) -> None:
    """Without a network the run can only refuse; with the file as it was it goes on."""
    path = ground.folder / ".cache/downloads" / name
    kept = path.read_bytes()
    done = spoil(path, rng)
    ground.forget(stage)
    status, said = ground.run(*REPRO)
    wrong = f"a traceback: {brief(said)}" if "Traceback (most" in said else None
    path.write_bytes(kept)
    fault.note(f"{name}, {done}", wrong or (ground.again() if status else ground.wrong()))


def in_checkpoint(ground: Ground, fault: Fault, stage: str, rng: random.Random) -> None:
    """Kill a training that has left a checkpoint, damage that, and go on."""
    ground.forget(stage)
    process, folder = ground.start(*REPRO), ground.folder / ".cache/training"
    while process.poll() is None and not (found := list(folder.glob(f"{stage}-*.npz"))):
        time.sleep(0.01)
    if child := of_stage(process, stage):
        child.kill()
    process.communicate()
    if found and found[0].exists():
        fault.note(f"{stage}, {spoil(found[0], rng)}", ground.again())


def in_runs(ground: Ground, fault: Fault, stage: str, rng: random.Random) -> None:
    if not ground.runs(stage):  # an earlier one of these has taken it
        ground.forget(stage)
        ground.again()
    kept = {path: path.read_bytes() for path in ground.runs(stage)}
    ground.forget(stage)
    for path, content in kept.items():
        path.parent.mkdir()
        path.write_bytes(content)
        done = spoil(path, rng)
    status, said = ground.typed(*REPRO)
    ground.run("tools.mend")  # where DVC has not stumbled, nobody has read the entry yet
    fault.note(f"{stage}, {done}", brief(said) if status else ground.again())
    for path in kept:
        shutil.rmtree(path.parent, ignore_errors=True)
    ground.again()


def run(grounds: Sequence[Ground], seconds: dict[str, float], until: float, seed: int) -> list[Fault]:
    rng = random.Random(seed)
    made, readers = {}, []
    for entry in grounds[0].right().values():
        made |= lockfile.outs(entry)
        readers.append((entry["cmd"].rpartition("stages.")[2], [dep["path"] for dep in entry["deps"]]))
    pairs = [(path, stage) for stage, deps in readers for path in deps if path in made and not path.startswith("metrics/")]
    faults = [output, memo, download, training, runs] = [
        Fault(f"damage in {what}") for what in ("outputs and cache", "the memo", "downloads", "checkpoints", "the run cache")
    ]
    downloads = [path for path in sorted(Path(".cache/downloads").iterdir()) if path.suffix in (".zip", ".whl")]

    def works() -> Iterator[Work]:
        for number in itertools.count():
            round_: list[tuple] = [(in_memo, memo)]
            for place, (path, stage) in enumerate(rng.sample(pairs, min(len(pairs), 12))):
                round_.append((in_output, output, path, stage, ("both", "the workspace", "the cache")[(number + place) % 3]))
            round_ += [
                (in_download, download, path.name, "download" if path.suffix == ".zip" else "pretrained") for path in downloads
            ]
            round_ += [(in_checkpoint, training, stage) for stage in ("small_cnn", "top", "finetune")]
            round_ += [(in_runs, runs, stage) for stage in rng.sample(list(seconds), 4)]
            for damage, *words in rng.sample(round_, len(round_)):
                own = random.Random(rng.random())
                yield lambda ground, damage=damage, words=words, own=own: damage(ground, *words, own)

    beside(works(), grounds, until)
    return faults
