"""Level 1: a small convnet, trained from scratch on augmented photos.

    dvc exp run -S small_cnn.dropout=0.6 -S small_cnn.augmentation.rotation=20

Writes models/small_cnn.keras, and what else `loop.fit` writes.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from littledata import networks
from littledata.core import environment, stage
from littledata.networks import models
from littledata.pictures import deep, images
from littledata.splits import dataset
from littledata.training import batches, loop


def main(params) -> None:
    fit, params = params["fit"], params["small_cnn"]
    seed = params["seed"]
    networks.seed_everything(seed)
    manifest = dataset.read_manifest()
    classes, depth = dataset.class_names(manifest), deep.read()
    size, batch_size = params["image_size"], params["batch_size"]

    def load(split):
        photos = dataset.of_split(manifest, split)
        pixels = images.read([photo.read for photo in photos], size, fit, f"{split} photos", depth)
        return photos, pixels, dataset.labels(photos, classes)

    model = models.small_cnn(size, len(classes), params)

    photos, pixels, labels = load("train")
    padded = [images.padded(photo) for photo in pixels]

    # A whole epoch's views at once: threads that augment beside a training step make both several times slower.
    @functools.lru_cache(maxsize=1)
    def views(epoch):
        def view(row):
            rng = images.random_numbers(seed, epoch, photos[row].sha256)
            return images.augment(padded[row], size, params["augmentation"], rng)

        with ThreadPoolExecutor(environment.THREADS) as pool:
            return np.stack(list(pool.map(view, range(len(photos)))))

    _, validation, validation_labels = load("validation")
    loop.fit(
        "small_cnn",
        model,
        batches.Batches(lambda epoch, rows: views(epoch)[rows], labels, batch_size, seed),
        (validation[:, None], validation_labels),
        params,
        used=models.both_ways(model) if params["mirror"] else None,
    )


if __name__ == "__main__":
    stage.run("small_cnn", main)
