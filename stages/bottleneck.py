"""Compute bottleneck features: run the pretrained rest of the network over the cached activations.

Writes data/bottleneck/<split>.npy and .csv, the network's output (VGG16's: that of block5's pooling) for every view. With
`top.listed` also the averaged output for all other photos of a bucket or list, which are read from there, shard by shard: on this
machine, or with ENGINE=ray on a cluster. `activations` says what is written of them.
"""

from littledata.core import process

process.begin("bottleneck", __name__)

import numpy as np

from littledata.core import files, paths, stage
from littledata.core.progress import progress
from littledata.features import activations, layers


def main(params) -> None:
    network = layers.Frozen(paths.WEIGHTS, params.backbone, params.finetune.unfreeze, above=True)
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
    if params.top.listed:
        from littledata.shards import store  # which takes TensorFlow

        rows = np.fromiter(store.listed(params), np.dtype((np.int32, 3)))
        with files.whole(activations.ROWS) as file:
            np.save(file, rows)
        print(f"level 2 learns from {len(rows)} photos that were not drawn, besides those that were")


if __name__ == "__main__":
    stage.run("bottleneck", main)
