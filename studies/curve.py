"""How time, memory and disk grow with the number of photos: CIFAR-10's ten classes as own photos.

    python -m studies.curve                                         # recipe light: 1, 4, 16 and 60 thousand photos
    python -m studies.curve 1000 4000 --recipe vgg16
    python -m studies.curve --show studies/results/curve_light.json # the table; runs nothing

Each number of photos in a temporary clone of the last commit with empty caches: the stages up to level 2, with one view of each
photo, `duplicates`, `predict --to`, and DVC's own commands. Above LISTED photos they are read in place as a list (source `bucket`),
of which LISTED are drawn, with maps, and level 2 learns from the averaged features of all others. Writes
studies/results/curve_<recipe>.json.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from littledata.core import command, lockfile, measured, tables
from littledata.photos import fetch
from studies import copies, measure

PHOTOS = (1000, 4000, 16_000, 60_000)
CLASSES, LISTED = 10, 16_000
STAGES = ("download", "subsample", "activations", "bottleneck", "top", "duplicates")
RUN = ("download", "subsample", "pretrained", "activations", "bottleneck", "top", "publish/dvc.yaml:duplicates")  # no others
DVC = {
    "dvc status": ["dvc", "status", *RUN],
    "dvc commit": ["dvc", "commit", "--force", *RUN],
    "dvc push": ["dvc", "push", "--remote", "here", *RUN],
    "dvc checkout": ["dvc", "checkout", *RUN],
}
LOCK = "from tools import lock; lock.differences()"  # as `make check-lock`; what did not run differs
EXPORT = """\
import sys
from pathlib import Path
from littledata.core import params
from littledata.export import export, to_onnx
from littledata.splits import dataset
settings = params.load()
about = {"classes": dataset.class_names(dataset.read_manifest()), "image_size": settings["image_size"]}
model = to_onnx.convert(export.parts(settings, "top"), settings["image_size"], 1, about)
Path(sys.argv[1]).write_bytes(model.SerializeToString())
"""


def settings(count: int, recipe: str, photos: Path) -> dict:
    """The params for so many photos of a recipe."""
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    changes = ["activations.views=1", "download.source=path", f"download.path={photos}", "download.sha256=null"]
    if count > LISTED:
        changes += ["download.source=bucket", "top.listed=true"]
        shares = {split: round(share * LISTED / CLASSES) for split, share in shares.items()}
    return copies.settings(recipe, changes + [f"subsample.{split}={share}" for split, share in shares.items()])


def size_of(folder: Path) -> float:
    """What a folder's files take, in MB; one that has several names counts once."""
    files = {(about.st_dev, about.st_ino): about.st_size for about in (path.stat() for path in folder.rglob("*") if path.is_file())}
    return sum(files.values()) / 1e6


def grown(count: int, recipe: str) -> dict:
    """What so many photos take: seconds, peak MB and MB in DVC's cache of every stage, and of the commands."""
    with tempfile.TemporaryDirectory(prefix="curve-") as temporary:
        clone, photos, remote, predictions = (Path(temporary, name) for name in ("clone", "photos", "remote", "predictions"))

        def took(*words: str, **options) -> dict:
            ran = measure.run(*words, folder=clone, **options)
            return {"seconds": ran.seconds, "peak_memory_mb": ran.peak_mb}

        subprocess.run(["git", "clone", "-q", ".", clone], check=True)
        (clone / fetch.CACHE).parent.mkdir(exist_ok=True)
        (clone / fetch.CACHE).symlink_to(fetch.CACHE.absolute(), target_is_directory=True)
        took("tools.cifar10", str(photos), f"all={count // CLASSES}")
        copies.write_params(clone, settings(count, recipe, photos))
        took("dvc", "config", "--local", "cache.type", "hardlink")  # a second copy of everything would double the disk
        took("dvc", "remote", "add", "--local", "here", str(remote))
        took("dvc", "repro", *RUN)
        lock = lockfile.stages(clone / "dvc.lock", clone / "publish/dvc.lock")
        rows: dict[str, dict] = {}
        for stage in STAGES:
            rows[stage] = measured.of(stage, lock[stage], clone) | {"mb": sum(out["size"] for out in lock[stage]["outs"]) / 1e6}
        for label, words in DVC.items():
            if label == "dvc checkout":
                shutil.rmtree(clone / "data")
            rows[label] = took(*words)
        rows["make check-lock"] = took(LOCK, code=True)
        rows["dvc push"]["mb"] = size_of(remote)
        classifier = str(Path(temporary, "classifier.onnx"))
        took(EXPORT, classifier, code=True)
        rows["predict --to"] = took("littledata.predict.predict", str(photos), "--to", str(predictions), "--model", classifier)
        rows["predict --to"]["mb"] = size_of(predictions)
        return rows


def table(counts: dict[str, dict]) -> str:
    """Seconds, MB of memory and MB written, a row each; for each number of photos."""
    in_order = sorted(counts, key=int)
    rows = []
    for what in counts[in_order[0]]:
        cells = []
        for count in in_order:
            one = counts[count][what]
            cells.append(
                f"{one['seconds']:.1f} s, {one['peak_memory_mb']:.0f} MB" + (f", {one['mb']:.1f} MB" if "mb" in one else "")
            )
        rows.append([what, *cells])
    return tables.markdown(["seconds, memory, written", *(f"{int(count):,} photos" for count in in_order)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", type=int, default=list(PHOTOS), help=f"default: {' '.join(map(str, PHOTOS))}")
    parser.add_argument("--recipe", default="light", help="default: light")
    parser.add_argument("--to", type=Path, help="the file to write; default: studies/results/curve_<recipe>.json")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())))
        return
    to = options.to or Path(f"studies/results/curve_{options.recipe}.json")
    counts: dict[str, dict] = json.loads(to.read_text()) if to.exists() else {}
    for count in options.photos:
        print(f"{count} photos", flush=True)
        counts[str(count)] = measure.rounded(grown(count, options.recipe))
        to.write_text(json.dumps(counts, indent=2) + "\n")
    print(table(counts))


if __name__ == "__main__":
    command.start(main)
