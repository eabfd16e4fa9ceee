"""How time, memory and disk grow with the number of photos: CIFAR-10's ten classes as own photos. `make curve`

    python -m studies.curve                                   # recipe light: 1, 4, 16 and 60 thousand photos
    python -m studies.curve 1000 4000 --recipe vgg16
    python -m studies.curve --show studies/results/curve_light.json   # the tables; runs nothing

Each number of photos in a temporary clone of the last commit with empty caches: the stages up to level 2, with one view of each
photo, `duplicates`, `predict --to`, and DVC's own commands. Above LISTED photos they are read in place as a list (source `bucket`),
of which LISTED are drawn, with maps, and level 2 learns from the averaged features of all others. Writes studies/results/curve_<recipe>.json,
from which --show also works out, with what `make bench` measured, what a million photos would take: on paper, nobody has run it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from littledata.core import command, environment, lockfile, measured, params, tables
from littledata.core.errors import UserError
from littledata.photos import fetch
from littledata.shards.store import SIZE, STORE
from studies import bench
from tools import experiment, recipe

PHOTOS = (1000, 4000, 16_000, 60_000)
CLASSES = 10
LISTED = 16_000
STAGES = ("download", "subsample", "activations", "bottleneck", "top", "duplicates")
RUN = ("download", "subsample", "pretrained", "activations", "bottleneck", "top", "publish/dvc.yaml:duplicates")  # no others
DVC = {
    "dvc status": ["dvc", "status", *RUN],
    "dvc commit": ["dvc", "commit", "--force", *RUN],
    "dvc push": ["dvc", "push", "--remote", "here", *RUN],
    "dvc checkout": ["dvc", "checkout", *RUN],
}
# Runs a command and ends with its peak memory: a child of this process would begin with what this one has.
PEAK = """\
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""
PAPER = (10**6, 10**8)
# What one pays, in USD. GPUs wait for photos to be decoded by the cores beside them.
CORES = (2, 64)
CORE_HOUR, GPU_HOUR, GB_MONTH = 0.04, 1.0, 0.023
GPUS = 8
LOCK = "from tools import lock; lock.differences()"  # as `make check-lock`; what did not run differs


def run(clone: Path, *words: str, option: str = "-m") -> tuple[float, float]:
    """Seconds that a module of this Python, or with the option -c some code, takes in the clone, and its peak memory in MB; UserError
    where it fails."""
    start = time.perf_counter()
    wrapped = [sys.executable, "-c", PEAK, sys.executable, option, *words]
    done = subprocess.run(wrapped, cwd=clone, env=experiment.environment(), capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{done.stdout}{done.stderr}`{' '.join(words)}` failed.")
    return time.perf_counter() - start, int(done.stderr.splitlines()[-1]) / 1024


def settled(clone: Path, photos: Path, count: int, name: str) -> None:
    """Write params.yaml for so many photos of a recipe."""
    changes = recipe.changes(name) + [
        "activations.views=1",
        "download.source=path",
        f"download.path={photos}",
        "download.sha256=null",
    ]
    parts = {"train": 0.6, "validation": 0.2, "test": 0.2}
    if count > LISTED:
        changes += ["download.source=bucket", "top.listed=true"]
        parts = {split: round(share * LISTED / CLASSES) for split, share in parts.items()}
    settings = recipe.changed_by(params.load(), changes)
    settings["subsample"] |= parts
    params.check(settings, params.PARAMS)
    YAML(typ="safe", pure=True).dump(settings, clone / params.PARAMS)


def size_of(folder: Path) -> float:
    """What a folder's files take, in MB; one that has several names counts once."""
    found = {(about.st_dev, about.st_ino): about.st_size for about in (path.stat() for path in folder.rglob("*") if path.is_file())}
    return sum(found.values()) / 1e6


def measure(count: int, name: str) -> dict:
    """What so many photos take: seconds, peak MB and MB in DVC's cache of every stage, and of the commands."""
    with tempfile.TemporaryDirectory(prefix="curve-") as temporary:
        clone, photos = Path(temporary, "clone"), Path(temporary, "photos")
        subprocess.run(["git", "clone", "-q", ".", clone], check=True)
        (clone / fetch.CACHE).parent.mkdir(exist_ok=True)
        (clone / fetch.CACHE).symlink_to(fetch.CACHE.absolute(), target_is_directory=True)
        run(clone, "tools.cifar10", str(photos), f"all={count // CLASSES}")
        settled(clone, photos, count, name)
        for words in (["cache.type", "hardlink"], ["core.analytics", "false"]):  # a second copy of everything would double the disk
            run(clone, "dvc", "config", "--local", *words)
        run(clone, "dvc", "remote", "add", "--local", "here", str(Path(temporary, "remote")))
        run(clone, "dvc", "repro", *RUN)
        lock = lockfile.stages(clone / "dvc.lock", clone / "publish/dvc.lock")
        found: dict[str, dict] = {}
        for stage in STAGES:
            found[stage] = measured.of(stage, lock[stage], clone) | {"mb": sum(out["size"] for out in lock[stage]["outs"]) / 1e6}
        found["bottleneck"]["shards_mb"] = size_of(clone / STORE.relative_to(environment.ROOT))
        for label, words in DVC.items():
            if label == "dvc checkout":
                shutil.rmtree(clone / "data")
            seconds, memory = run(clone, *words)
            found[label] = {"seconds": seconds, "peak_memory_mb": memory}
        seconds, memory = run(clone, LOCK, option="-c")
        found["make check-lock"] = {"seconds": seconds, "peak_memory_mb": memory}
        found["dvc push"]["mb"] = size_of(Path(temporary, "remote"))
        classifier = Path(temporary, "classifier.onnx")
        classifier.write_bytes(exported(clone))
        seconds, memory = run(
            clone, "littledata.predict.predict", str(photos), "--to", str(Path(temporary, "to")), "--model", str(classifier)
        )
        found["predict --to"] = {"seconds": seconds, "peak_memory_mb": memory, "mb": size_of(Path(temporary, "to"))}
        return found


def exported(clone: Path) -> bytes:
    """The clone's level 2 as a file for `predict`."""
    from littledata.export import assemble, to_onnx
    from littledata.splits import dataset

    settings, here = params.load(clone / params.PARAMS), os.getcwd()
    os.chdir(clone)  # where all paths of a stage begin
    try:
        about = {"classes": dataset.class_names(dataset.read_manifest()), "image_size": settings["image_size"]}
        return to_onnx.convert(assemble.parts(settings, "top"), settings["image_size"], 1, about).SerializeToString()
    finally:
        os.chdir(here)


def table(found: dict) -> str:
    """Seconds, MB of memory and MB written, a row each; for each number of photos."""
    counts = sorted(map(int, found))
    rows = []
    for what in found[str(counts[0])]:
        of = [found[str(count)][what] for count in counts]
        cells = [
            f"{one['seconds']:.1f} s, {one['peak_memory_mb']:.0f} MB" + (f", {one['mb']:.1f} MB" if "mb" in one else "")
            for one in of
        ]
        rows.append([what, *cells])
    return tables.markdown(["seconds, memory, written", *(f"{count:,} photos" for count in counts)], rows)


def paper(found: dict, measured: dict) -> str:
    """What very many photos would take, a row each: from the curve of a recipe, and from what `make bench` measured of photos at their
    own sizes and of its exported file. What is read from a bucket meanwhile is not counted."""
    less, most = sorted(map(int, found))[-2:]  # as many are drawn in both

    def more(what: str, key: str = "seconds") -> float:
        """What one photo more takes."""
        return (found[str(most)][what][key] - found[str(less)][what][key]) / (most - less)

    photo, (few, many) = measured["a_photo"], CORES
    features = found[str(most)]["bottleneck"]["shards_mb"] / most
    once = (
        measured["cores"] / measured["networks"]["light"]["float32"]["photos_a_second"]
    )  # core seconds: decoded, computed, written
    decoded = photo["decode_ms"] / 1e3

    def row(photos: int) -> dict[str, str]:
        return {
            "the photos": amount(photos * photo["kb"] / 1e3),
            "their list": amount(photos * found[str(most)]["download"]["mb"] / most),
            "averaged features": f"{amount(photos * features)}, {photos / SIZE:,.0f} files",
            "predictions": amount(photos * more("predict --to", "mb")),
            f"features or predictions, on {few} cores": duration(photos * once / few),
            f"on {many} cores": duration(photos * once / many),
            f"on {GPUS} GPUs, with {many} cores": duration(photos * decoded / many),
            f"level 2 from all features, on {few} cores": duration(photos * more("top")),
            f"cores, {CORE_HOUR} USD an hour each": f"{photos * once / 3600 * CORE_HOUR:,.2f} USD",
            f"or GPUs, {GPU_HOUR} USD an hour each, and cores": (
                f"{photos * decoded / 3600 / many * (GPUS * GPU_HOUR + many * CORE_HOUR):,.2f} USD"
            ),
            f"photos and features, {GB_MONTH} USD a GB and month": (
                f"{photos * (photo['kb'] / 1e6 + features / 1e3) * GB_MONTH:,.2f} USD a month"
            ),
        }

    rows = [row(photos) for photos in PAPER]
    body = [[name, *(of[name] for of in rows)] for name in rows[0]]
    return tables.markdown(["on paper", *(f"{count:,} photos" for count in PAPER)], body)


def amount(mb: float) -> str:
    """Megabytes, for people."""
    unit, size = next((unit, size) for unit, size in (("TB", 1e6), ("GB", 1e3), ("MB", 1)) if mb >= size or size == 1)
    return f"{mb / size:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds, for people."""
    unit, size = next((unit, size) for unit, size in (("h", 3600), ("min", 60), ("s", 1)) if seconds >= 1.5 * size or size == 1)
    return f"{seconds / size:,.1f} {unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", type=int, default=list(PHOTOS), help=f"default: {' '.join(map(str, PHOTOS))}")
    parser.add_argument("--recipe", default="light", help="default: light")
    parser.add_argument("--to", type=Path, help="the file to write; default: studies/results/curve_<recipe>.json")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    given = parser.parse_args()
    if given.show:
        shown = json.loads(given.show.read_text())
        print(table(shown))
        if max(map(int, shown)) > LISTED:
            print(f"\n{paper(shown, json.loads(bench.BENCHMARK.read_text()))}")
        return
    to = given.to or Path(f"studies/results/curve_{given.recipe}.json")
    found: dict[str, dict] = json.loads(to.read_text()) if to.exists() else {}
    for count in given.photos:
        print(f"{count} photos", flush=True)
        found[str(count)] = bench.rounded(measure(count, given.recipe))
        to.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    command.start(main)
