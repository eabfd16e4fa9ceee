"""What VGG16's frozen layers put out, once for every augmented view of every photo.

Everything below the cut stays as it was pretrained, so its output for one picture never changes. Computed once
and cached, an experiment with another learning rate, dropout, seed or number of epochs trains only what lies above.
The cut follows `finetune.unfreeze`: with [block5] it is the output of block4's pooling.

Writes data/activations/<split>.npy and .csv: training photos in `activations.views` views, the first of them
plain; validation and test photos plain.
"""

import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.lib import stage, quiet  # isort: skip: first the clock starts, then TensorFlow, quietly
import numpy as np

from stages.lib import activations, dataset, environment, frozen, images, vgg16
from stages.lib.progress import progress

WEIGHTS = Path("models/vgg16.weights.h5")
BATCH_SIZE = 16  # pictures; on a CPU larger ones are no faster and take more memory


def views_of(photo: dataset.Photo, views: int, size: int, strength, seed: int) -> np.ndarray:
    """One decoded photo in all its views: uint8 of shape (views, size, size, 3)."""
    plain = images.resize(images.decode(photo.path.read_bytes(), size), size)
    padded = images.padded(plain)
    rngs = (images.random_numbers(seed, view, photo.sha256) for view in range(1, views))
    return np.stack([plain, *(images.augment(padded, size, strength, rng) for rng in rngs)])


def main(params) -> None:
    size, strength, seed = params["image_size"], params["activations"]["augmentation"], params["activations"]["seed"]
    manifest = dataset.read_manifest()
    network = vgg16.load(WEIGHTS, size)
    below = vgg16.below(network, vgg16.cut_layer(params["finetune"]["unfreeze"]))
    run = frozen.runner(below)

    for split in dataset.SPLITS:
        photos = dataset.of_split(manifest, split)
        views = params["activations"]["views"] if split == "train" else 1
        step = max(1, BATCH_SIZE // views)
        decoded = functools.partial(views_of, views=views, size=size, strength=strength, seed=seed)
        with (
            ThreadPoolExecutor(environment.THREADS) as pool,
            activations.writer(activations.ACTIVATIONS, photos, views, below.output_shape[1:]) as append,
            progress(views * len(photos), f"{split} views", "views") as bar,
        ):
            for start in range(0, len(photos), step):
                # All cores decode, then all run the network: side by side, each layer would wait for its slowest core.
                some = photos[start : start + step]
                pixels = np.concatenate(list(pool.map(decoded, some)))
                append(run(vgg16.preprocess(pixels, params["preprocessing"])))
                bar.update(len(pixels))


if __name__ == "__main__":
    stage.run("activations", main)
