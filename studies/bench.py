"""How fast the workflow is, beside the blog's scripts and beside what the machine could do at most. `make bench`

    DOGS_VS_CATS_ARCHIVE=... python -m studies.bench

In one session, in a temporary clone of the last commit with an empty cache: the whole DAG cold, `dvc repro` with
nothing to do, the experiment `dvc exp run -S finetune.lr=1e-4` on the warm cache, with both recipes, the blog's three scripts
(`studies/plain.py`: a few epochs, multiplied out to 50), and between them the best rate of matrix products; and the recipe `light`
beside the default: its stages, its exported files, and how many photos a second `predict` answers. Prints a table and writes
studies/results/benchmark.json.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from littledata.core import command, lockfile, measured, params
from littledata.core.errors import UserError
from littledata.networks import backbone, keras, models
from littledata.photos import sources
from littledata.pictures import images
from littledata.scores import metrics
from studies import sets
from tools import experiment, recipe

BENCHMARK = Path("studies/results/benchmark.json")
PLAIN = ("small_cnn", "bottleneck", "finetune")
EXPERIMENT = "finetune.lr=1e-4"
FILES = {"float32": "models/classifier.onnx", "int8": "models/classifier.int8.onnx"}
PREDICTED = "data/photos/validation"  # photos at their own sizes


def matmul_gflops(size: int = 3072, repeats: int = 6) -> float:
    """The best rate of a float32 matrix product, by TensorFlow and by NumPy's BLAS, in billions of operations a second."""
    a = np.random.default_rng(1).random((size, size), np.float32)
    tensor = keras.ops.convert_to_tensor(a)
    best = float("inf")
    for product in (lambda: a @ a, lambda: np.asarray(keras.ops.matmul(tensor, tensor))):
        for _ in range(repeats):
            start = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def layer_gflop(layer: keras.Layer) -> float:
    """Floating-point operations of a convolution or dense layer for one picture, in billions; of others 0."""
    if not isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)):
        return 0.0
    places = np.prod(layer.output.shape[1:-1])  # one, where a layer has no height and width
    return 2 * float(places) * float(np.prod(layer.kernel.shape)) / 1e9


def gflop(model: keras.Model) -> tuple[float, float]:
    """Operations of one picture, forward, and in a training step: gradients of weights and of inputs cost as much
    again each, but the first layer needs none of its inputs."""
    layers = [cost for cost in map(layer_gflop, model.layers) if cost]
    return sum(layers), 3 * sum(layers) - layers[0]


def work(settings: dict, looks: list[tuple[float, float]]) -> dict[str, float]:
    """Operations of the stages that compute, in billions; `looks` are level 3's, as `sets.looks` reads them."""
    sizes, size = settings["subsample"], settings["image_size"]
    train, validation, test = (2 * sizes[split] for split in ("train", "validation", "test"))
    views, crops = train * settings["activations"]["views"], settings["activations"]["crops"]
    network, unfrozen = backbone.build(settings["backbone"], size), settings["finetune"]["unfreeze"]
    frozen, _ = gflop(backbone.below(network, unfrozen))
    rest, rest_step = gflop(backbone.above(network, unfrozen))
    cnn, cnn_step = gflop(models.small_cnn(2, settings.small_cnn))
    return {
        "small_cnn": settings["small_cnn"]["epochs"] * (train * cnn_step + validation * cnn),
        "activations": (views + (validation + test) * crops) * frozen,
        "bottleneck": (views + (validation + test) * crops) * rest,
        "finetune": looks[-1][0] * train * rest_step + len(looks) * validation * crops * rest,
    }


class Ran(NamedTuple):
    """What a command took and printed. `tuning` seconds of it passed between level 3's first and last look at validation photos."""

    seconds: float
    tuning: float
    printed: str


def run(clone: Path, *command: str) -> Ran:
    """Run a module of this Python in the clone; stops where it fails."""
    print("$ " + " ".join(command), flush=True)  # what it prints itself is shown only where it fails
    env = experiment.environment()
    if given := sources.by_hand():
        env[sources.ARCHIVE_VARIABLE] = str(given.absolute())
    lines, looks, start = [], [], time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        words = [sys.executable, "-m", *command]
        with subprocess.Popen(words, cwd=clone, env=env, stdout=subprocess.PIPE, stderr=said, text=True) as process:
            for line in process.stdout:
                lines.append(line)
                if looks and line.startswith("epoch ") or line.startswith("epoch 0 "):  # no other level has a look before it trains
                    looks.append(time.perf_counter())
        if process.returncode:
            said.seek(0)
            raise UserError(f"{''.join(lines)}{said.read()}`{' '.join(command)}` failed.")
    seconds = time.perf_counter() - start
    print(f"  {seconds:.1f} s", flush=True)
    return Ran(seconds, looks[-1] - looks[0] if looks else 0.0, "".join(lines))


def read(clone: Path) -> tuple[dict, dict]:
    """Every stage's seconds, peak memory and bytes in DVC's cache in the clone, and the levels' scores."""
    lock = lockfile.stages(clone / "dvc.lock")
    stages = {name: measured.of(name, entry, clone) for name, entry in lock.items()}
    for name, stage in stages.items():
        stage["cache_mb"] = sum(out["size"] for out in lock[name]["outs"]) / 1e6
    return stages, metrics.read(clone / metrics.SCORES)


def network(clone: Path, cold: float) -> dict:
    """What the params in the clone have taken, which have just run: `cold` seconds, but for level 1 and level 3's steps; what is
    exported of it; and what an experiment takes then."""
    settings, (stages, scores) = params.load(clone / params.PARAMS), read(clone)
    sizes = settings["subsample"]
    views = 2 * sizes["train"] * settings["activations"]["views"]
    views += 2 * (sizes["validation"] + sizes["test"]) * settings["activations"]["crops"]
    trained = sets.looks(clone)[-1][0] * 2 * sizes["train"]
    run(clone, "dvc", "repro", "publish/dvc.yaml:quantize")
    with open(clone / "metrics/int8.csv", newline="") as file:
        same = {row["classifier"]: float(row["same_class_as_float32"]) for row in csv.DictReader(file)}
    found = {
        "cold_seconds": cold,
        "activations_ms": 1e3 * stages["activations"]["seconds"] / views,
        "finetune_ms": 1e3 * stages["finetune"]["seconds"] / trained,
        "test_accuracy": {level: scores[level]["test"]["accuracy"] for level in ("top", "finetune")},
    }
    for name, path in FILES.items():
        seconds, _, printed = run(clone, "littledata.predict.predict", "--model", path, "--format", "csv", PREDICTED)
        photos = len(printed.splitlines()) - 1
        size = (clone / path).stat().st_size / 1e6
        found[name] = {"mb": size, "photos_a_second": photos / seconds, "photos": photos, "same_class": same[name]}
    warm = run(clone, "dvc", "exp", "run", "-S", EXPERIMENT)
    found["warm_experiment"] = {
        "seconds": warm.seconds,
        "but_steps_seconds": warm.seconds - warm.tuning,
        "accuracy": read(clone)[1]["finetune"]["validation"]["accuracy"],
    }
    return found


def a_photo(folder: Path, size: int) -> dict[str, float]:
    """The mean size of the photos under a folder, in KB, and what it takes one core to decode and resize one, in ms."""
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    start = time.perf_counter()
    for data in found:
        images.square(data, size)
    took = time.perf_counter() - start
    return {"kb": sum(map(len, found)) / len(found) / 1e3, "decode_ms": 1e3 * took / len(found), "photos": len(found)}


def benchmark(clone: Path) -> dict:
    """Everything that is measured, as studies/results/benchmark.json has it; seconds unless a name says otherwise."""
    settings = params.load(clone / params.PARAMS)
    rates = [matmul_gflops()]
    cold = run(clone, "dvc", "repro")
    (stages, scores), looks = read(clone), sets.looks(clone)
    rates.append(matmul_gflops())
    noop = min(run(clone, "dvc", "repro").seconds for _ in range(3))
    networks = {"default": network(clone, cold.seconds - cold.tuning - stages["small_cnn"]["seconds"])}
    rates.append(matmul_gflops())
    plain = {name: json.loads(run(clone, "studies.plain", name).printed.splitlines()[-1]) for name in PLAIN}
    rates.append(matmul_gflops())
    light = run(clone, "dvc", "exp", "run", *(word for change in recipe.changes("light") for word in ("-S", change)))
    networks["light"] = network(clone, light.seconds - light.tuning)  # level 1 was in the cache
    warm = networks["default"]["warm_experiment"]

    for name, cost in work(settings, looks).items():
        stages[name]["share_of_ceiling"] = cost / stages[name]["seconds"] / max(rates)
    epoch = stages["small_cnn"]["seconds"] / settings["small_cnn"]["epochs"]
    scripts = sum(script["seconds"] for script in plain.values())
    return {
        "cores": os.cpu_count(),
        "matmul_gflops": max(rates),
        "plain": {**plain, "seconds": scripts},
        "stages": stages,
        "networks": networks,
        "a_photo": a_photo(clone / PREDICTED, settings["image_size"]),
        "cold": {
            "seconds": cold.seconds,
            "speedup": scripts / cold.seconds,
            "accuracy": scores["finetune"]["validation"]["accuracy"],
        },
        "warm_experiment": warm | {"speedup": plain["finetune"]["seconds"] / warm["seconds"]},
        "noop": {"seconds": noop},
        "activations": {"share_of_ceiling": stages["activations"]["share_of_ceiling"]},
        "small_cnn": {"epoch_seconds": epoch, "epoch_speedup": plain["small_cnn"]["epoch_seconds"] / epoch},
        "peak_memory_mb": max(stage["peak_memory_mb"] for stage in stages.values()),
    }


def rounded(value):
    """Every number in a tree of dictionaries to four digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def networks_table(networks: dict) -> list[str]:
    """What `network` found of each recipe, as lines for people."""
    lines = []
    for name, found in networks.items():
        accuracy = ", ".join(f"{value:.3f}" for value in found["test_accuracy"].values())
        lines.append(
            f"recipe {name}: {found['cold_seconds']:.0f} s cold, but for level 1 and level 3's steps; a photo takes "
            f"{found['activations_ms']:.1f} ms of activations, {found['finetune_ms']:.1f} ms of level 3 a step, start and looks "
            f"included; test accuracy of levels 2 and 3: {accuracy}"
        )
        for file in FILES:
            of = found[file]
            lines.append(
                f"  {file:<8}{of['mb']:6.1f} MB, predict {of['photos_a_second']:6.1f} photos a second over {of['photos']}, its start "
                f"included; the class of float32 on {of['same_class']:.4f}"
            )
        warm = found["warm_experiment"]
        lines.append(
            f"  {EXPERIMENT} then: {warm['seconds']:.1f} s, {warm['but_steps_seconds']:.1f} s of them but for level 3's steps"
        )
    return lines


def table(result: dict) -> str:
    """What `benchmark` measured, for people."""
    plain, warm, epoch, stages = (result[key] for key in ("plain", "warm_experiment", "small_cnn", "stages"))
    rows = [
        ("all three levels, cold", plain["seconds"], result["cold"]["seconds"], result["cold"]["speedup"]),
        (f"level 3 again, {EXPERIMENT}", plain["finetune"]["seconds"], warm["seconds"], warm["speedup"]),
        ("level 1, an epoch", plain["small_cnn"]["epoch_seconds"], epoch["epoch_seconds"], epoch["epoch_speedup"]),
    ]
    lines = [f"{'seconds':<32}{'scripts':>10}{'here':>10}{'times faster':>14}"]
    lines += [f"{name:<32}{scripts:>10.1f}{here:>10.1f}{ratio:>14.1f}" for name, scripts, here, ratio in rows]
    lines.append(f"{'dvc repro with nothing to do':<32}{'':>10}{result['noop']['seconds']:>10.1f}")
    lines.append(f"\n{'stage':<14}{'seconds':>9}{'peak MB':>9}{'cache MB':>10}{'of the ceiling':>16}")
    for name, stage in stages.items():
        share = f"{stage['share_of_ceiling']:.0%}" if "share_of_ceiling" in stage else ""
        lines.append(f"{name:<14}{stage['seconds']:>9.1f}{stage['peak_memory_mb']:>9}{stage['cache_mb']:>10.0f}{share:>16}")
    lines += ["", *networks_table(result.get("networks", {}))]
    if photo := result.get("a_photo"):
        lines.append(f"a photo of {photo['kb']:.0f} KB takes a core {photo['decode_ms']:.1f} ms to decode and resize")
    lines.append(
        f"\nceiling: the best float32 matrix product, {result['matmul_gflops']:.0f} GFLOP/s on {result['cores']} cores\n"
        f"level 3's validation accuracy: {result['cold']['accuracy']}, of the experiment {warm['accuracy']}; the blog's 0.94\n"
        "to the result: the scripts' 50 epochs a level at 150 px, here the epochs and sizes of params.yaml"
    )
    return "\n".join(lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "-q", ".", clone], check=True)
        result = rounded(benchmark(clone))
    BENCHMARK.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))


if __name__ == "__main__":
    command.start(main)
