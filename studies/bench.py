"""How fast the workflow is. `make bench`

    DOGS_VS_CATS_ARCHIVE=... python -m studies.bench
    python -m studies.bench --show studies/results/benchmark.json

In one session, in a temporary clone of the last commit with an empty cache: the whole DAG cold, `dvc repro` with nothing to do, the
experiment `dvc exp run -S finetune.lr=1e-4` on the warm cache, with both recipes; and the recipe `light` beside the default: its stages,
its exported files, and how many photos a second `predict` answers. Prints tables and writes studies/results/benchmark.json.
"""

import argparse
import csv
import json
import os
import subprocess
import tempfile
from pathlib import Path

from littledata.core import command, lockfile, measured, params, tables
from studies import copies, measure
from tools import recipe

BENCHMARK = Path("studies/results/benchmark.json")
EXPERIMENT = "finetune.lr=1e-4"
FILES = {"float32": "models/classifier.onnx", "int8": "models/classifier.int8.onnx"}
PREDICTED = "data/photos/validation"  # photos at their own sizes


def tuning(ran: measure.Ran) -> float:
    """The seconds that passed between level 3's first look at validation photos and its last: no other level looks before it trains."""
    looks = [seconds for seconds, line in ran.lines if line.startswith("epoch ")]
    start = next((seconds for seconds, line in ran.lines if line.startswith("epoch 0 ")), None)
    return looks[-1] - start if start else 0.0


def run(clone: Path, *words: str) -> measure.Ran:
    print("$ " + " ".join(words), flush=True)  # what it prints itself is shown only where it fails
    ran = measure.run(*words, folder=clone)
    print(f"  {ran.seconds:.1f} s", flush=True)
    return ran


def stages_of(clone: Path) -> dict[str, dict]:
    """Every stage's seconds, peak memory and bytes in DVC's cache in a clone."""
    lock = lockfile.stages(clone / "dvc.lock")
    cached = {name: sum(out["size"] for out in entry["outs"]) / 1e6 for name, entry in lock.items()}
    return {name: measured.of(name, entry, clone) | {"cache_mb": cached[name]} for name, entry in lock.items()}


def network(clone: Path, cold: float) -> dict:
    """What the params in the clone have taken, which have just run: `cold` seconds, but for level 1 and level 3's steps; what is
    exported of it; and what an experiment takes then."""
    settings, stages = params.load(clone / params.PARAMS), stages_of(clone)
    train, validation, test = (2 * settings.subsample[split] for split in ("train", "validation", "test"))
    views = train * settings.activations.views + (validation + test) * settings.activations.crops
    run(clone, "dvc", "repro", "publish/dvc.yaml:quantize")
    with open(clone / "metrics/int8.csv", newline="") as file:
        same = {row["classifier"]: float(row["same_class_as_float32"]) for row in csv.DictReader(file)}
    of_network: dict = {
        "cold_seconds": cold,
        "activations_ms": 1e3 * stages["activations"]["seconds"] / views,
        "finetune_ms": 1e3 * stages["finetune"]["seconds"] / (copies.looks(clone)[-1] * train),
    }
    for name, path in FILES.items():
        ran = run(clone, "littledata.predict.predict", "--model", path, "--format", "csv", PREDICTED)
        photos, mb = len(ran.lines) - 1, (clone / path).stat().st_size / 1e6
        of_network[name] = {"mb": mb, "photos_a_second": photos / ran.seconds, "photos": photos, "same_class": same[name]}
    warm = run(clone, "dvc", "exp", "run", "-S", EXPERIMENT)
    return of_network | {"warm_experiment": {"seconds": warm.seconds, "but_steps_seconds": warm.seconds - tuning(warm)}}


def benchmark(clone: Path) -> dict:
    """Everything that is measured, as studies/results/benchmark.json has it; seconds unless a name says otherwise."""
    cold = run(clone, "dvc", "repro")
    settings, stages = params.load(clone / params.PARAMS), stages_of(clone)
    noop = min(run(clone, "dvc", "repro").seconds for _ in range(3))
    networks = {"default": network(clone, cold.seconds - tuning(cold) - stages["small_cnn"]["seconds"])}
    light = run(clone, "dvc", "exp", "run", *(word for change in recipe.changes("light") for word in ("-S", change)))
    networks["light"] = network(clone, light.seconds - tuning(light))  # level 1 was in the cache
    return {
        "cores": os.cpu_count(),
        "stages": stages,
        "networks": networks,
        "cold": {"seconds": cold.seconds},
        "noop": {"seconds": noop},
        "small_cnn": {"epoch_seconds": stages["small_cnn"]["seconds"] / settings.small_cnn.epochs},
    }


def table(result: dict) -> str:
    """What `benchmark` measured, as tables."""
    seconds = {
        "all three levels, cold": result["cold"]["seconds"],
        f"level 3 again, {EXPERIMENT}": result["networks"]["default"]["warm_experiment"]["seconds"],
        "level 1, an epoch": result["small_cnn"]["epoch_seconds"],
        "`dvc repro` with nothing to do": result["noop"]["seconds"],
    }
    of_stages = [
        [name, f"{stage['seconds']:.1f}", f"{stage['peak_memory_mb']} MB", f"{stage['cache_mb']:.0f} MB"]
        for name, stage in result["stages"].items()
    ]
    of_networks = []
    for name, one in result["networks"].items():
        predicts = [f"{one[file]['photos_a_second']:.1f} a second, {one[file]['mb']:.1f} MB" for file in FILES]
        took = (one["cold_seconds"], one["warm_experiment"]["seconds"], one["warm_experiment"]["but_steps_seconds"])
        each = [f"{one[stage]:.1f} ms" for stage in ("activations_ms", "finetune_ms")]
        of_networks.append([name, *(f"{value:.1f} s" for value in took), *each, *predicts, one["int8"]["same_class"]])
    warm_header = ["cold, but for level 1 and level 3's steps", EXPERIMENT, "but for level 3's steps", "activations, a photo"]
    return "\n\n".join([
        tables.markdown(["what", "seconds"], [[what, f"{took:.1f} s"] for what, took in seconds.items()]),
        tables.markdown(["stage", "seconds", "peak memory", "in DVC's cache"], of_stages),
        tables.markdown(["recipe", *warm_header, "level 3, a photo and step", *FILES, "class of float32"], of_networks),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    if shown := parser.parse_args().show:
        print(table(json.loads(shown.read_text())))
        return
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "-q", ".", clone], check=True)
        result = measure.rounded(benchmark(clone))
    BENCHMARK.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))


if __name__ == "__main__":
    command.start(main)
