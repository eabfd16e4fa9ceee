"""Compute bottleneck features: run the pretrained rest of the network over the cached activations.

Writes data/bottleneck/<split>.npy and .csv, the network's output (VGG16's: that of block5's pooling) for every view.
"""

from pathlib import Path

import numpy as np

from stages.core import stage
from stages.core.progress import progress
from stages.frozen import activations, layers

WEIGHTS = Path("models/backbone.weights.h5")


def main(params) -> None:
    network = layers.Frozen(WEIGHTS, params["backbone"], params["finetune"]["unfreeze"], above=True)
    for split in activations.splits(activations.ACTIVATIONS):
        below, photos = activations.read(activations.ACTIVATIONS, split)
        views = below.shape[1]
        with (
            activations.writer(activations.BOTTLENECK, photos, views, network.output_shape(below.shape[2:])) as append,
            progress(views * len(photos), f"{split} views", "views") as bar,
        ):
            for computed in network.outputs(below, lambda photo: photo.astype(np.float32)):
                append(computed)
                bar.update(len(computed))


if __name__ == "__main__":
    stage.run("bottleneck", main)
