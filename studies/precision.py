"""What the frozen blocks take a photo by ncnn, and by TensorFlow in float32 and bfloat16, and how far each is from the first.

    python -m studies.precision       # after `make repro`

Validation photos at params.yaml's size, all in one process; the best of three.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from littledata.core import command, params
from littledata.core.errors import UserError
from littledata.features import layers, views
from littledata.networks import backbone, keras
from littledata.pictures import deep, images
from littledata.splits import dataset

PHOTOS, REPEATS = 32, 3


def best(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds of the fastest of some runs, after one that isn't counted, and what it computed."""
    run()
    seconds = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        computed = run()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, computed


def in_keras(weights: Path, unfreeze: list[str], policy: str) -> keras.Model:
    keras.config.set_dtype_policy(policy)
    return backbone.below(backbone.load("VGG16", weights), unfreeze)


def main() -> None:
    settings = params.load()
    if settings["backbone"] != "VGG16":
        raise UserError("ncnn runs VGG16 alone: set backbone to VGG16.")
    size, unfreeze = settings["image_size"], settings["finetune"]["unfreeze"]
    network = layers.Frozen(views.WEIGHTS, "VGG16", unfreeze)
    photos = dataset.of_split(dataset.read_manifest(), "validation")[:PHOTOS]
    depth = deep.read()
    pixels = [images.square(photo.read(), size, depth=depth) for photo in photos]
    batch = images.preprocess(np.stack(pixels), settings["preprocessing"])

    def ncnn() -> np.ndarray:
        return np.concatenate(list(network.outputs(batch, lambda photo: photo[None])))

    float32, bfloat16 = (in_keras(views.WEIGHTS, unfreeze, policy) for policy in ("float32", "mixed_bfloat16"))
    runs = {
        "ncnn, float32": ncnn,
        "TensorFlow, float32": lambda: float32.predict_on_batch(batch),
        "TensorFlow, bfloat16": lambda: bfloat16.predict_on_batch(batch).astype(np.float32),
    }
    reference = None
    for name, run in runs.items():
        seconds, computed = best(run)
        reference = computed if reference is None else reference
        error = np.sqrt(np.mean((computed - reference) ** 2) / np.mean(reference**2))
        print(f"{name:<22}{1000 * seconds / len(photos):>7.1f} ms a photo   error {error:.1e}", flush=True)


if __name__ == "__main__":
    command.start(main)
