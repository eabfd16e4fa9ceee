"""Level 1: a small convnet, trained from scratch on augmented photos.

    dvc exp run -S small_cnn.dropout=0.6 -S small_cnn.augmentation.rotation=20

Writes models/small_cnn.keras, and what else `loop.fit` writes.
"""

from littledata.core import process

process.begin("small_cnn", __name__)

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from littledata import networks
from littledata.core import environment, stage
from littledata.core.params import Params
from littledata.networks import models
from littledata.pictures import deep, images
from littledata.splits import dataset
from littledata.training import batches, loop


def main(params: Params) -> None:
    cnn, seed = params.small_cnn, params.seed
    networks.seed_everything(seed)
    manifest, depth = dataset.read_manifest(), deep.read()
    classes = dataset.class_names(manifest)

    def load(split: str) -> tuple[np.ndarray, np.ndarray]:
        photos = dataset.of_split(manifest, split)
        pixels = images.read([photo.read for photo in photos], cnn.image_size, params.fit, f"{split} photos", depth)
        return pixels, dataset.labels(photos, classes)

    model = models.small_cnn(len(classes), cnn)
    pixels, labels = load("train")
    digests = [photo.sha256 for photo in dataset.of_split(manifest, "train")]
    padded = [images.padded(photo) for photo in pixels]

    # A whole epoch's views at once: threads that augment beside a training step make both several times slower.
    @functools.lru_cache(maxsize=1)
    def views(epoch: int) -> np.ndarray:
        def view(row: int) -> np.ndarray:
            rng = images.random_numbers(seed, epoch, digests[row])
            return images.augment(padded[row], cnn.image_size, cnn.augmentation, rng)

        with ThreadPoolExecutor(environment.THREADS) as pool:
            return np.stack(list(pool.map(view, range(len(padded)))))

    validation, validation_labels = load("validation")
    loop.fit(
        "small_cnn",
        model,
        batches.Batches(lambda epoch, rows: views(epoch)[rows], labels, cnn.batch_size, seed),
        (validation[:, None], validation_labels),
        cnn,
        used=models.both_ways(model) if cnn.mirror else None,
    )


if __name__ == "__main__":
    stage.run("small_cnn", main)
