"""What the pretrained network's frozen layers put out, once for every augmented view of every photo.

Everything below the cut stays as it was pretrained, so its output for one picture never changes. Computed once
and cached, an experiment with another learning rate, dropout, seed or number of epochs trains only what lies above.
The cut follows `finetune.unfreeze`: with [block5] it is the output of block4's pooling.

Writes data/activations/<split>.npy and .csv: training photos in `activations.views` views, the first of them
plain; all other photos plain.
"""

from pathlib import Path

from stages.lib import stage  # isort: skip: first the clock starts
import numpy as np

from stages.lib import activations, dataset, frozen, images
from stages.lib.progress import progress

WEIGHTS = Path("models/backbone.weights.h5")


def views_of(photo: dataset.Photo, views: int, size: int, strength, seed: int) -> np.ndarray:
    """One decoded photo in all its views: uint8 of shape (views, size, size, 3)."""
    plain = images.resize(images.decode(photo.path.read_bytes(), size), size)
    padded = images.padded(plain)
    rngs = (images.random_numbers(seed, view, photo.sha256) for view in range(1, views))
    return np.stack([plain, *(images.augment(padded, size, strength, rng) for rng in rngs)])


def main(params) -> None:
    size, strength, seed = params["image_size"], params["activations"]["augmentation"], params["activations"]["seed"]
    manifest = dataset.read_manifest()
    network = frozen.Frozen(WEIGHTS, params["backbone"], params["finetune"]["unfreeze"])
    shape = network.output_shape((size, size, 3))

    for split in dataset.splits(manifest):
        photos = dataset.of_split(manifest, split)
        views = params["activations"]["views"] if split == "train" else 1

        def pictures(photo, views=views):
            return network.preprocess(views_of(photo, views, size, strength, seed), params["preprocessing"])

        with (
            activations.writer(activations.ACTIVATIONS, photos, views, shape) as append,
            progress(views * len(photos), f"{split} views", "views") as bar,
        ):
            for computed in network.outputs(photos, pictures):
                append(computed)
                bar.update(len(computed))


if __name__ == "__main__":
    stage.run("activations", main)
