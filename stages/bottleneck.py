"""Compute bottleneck features: run the pretrained rest of the network over the cached activations.

Writes data/bottleneck/<split>.npy and .csv, the network's output (VGG16's: that of block5's pooling) for every view. With
`top.listed` also the averaged output for all other photos of a bucket or list, which are read from there, shard by shard: on this
machine, or with ENGINE=ray on a cluster. `averages` says what is written of them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from stages.core import stage
from stages.core.errors import UserError
from stages.core.progress import progress
from stages.frozen import activations, layers
from stages.photos import dataset
from stages.pictures import deep

WEIGHTS = Path("models/backbone.weights.h5")


def to_learn_from(shards: Iterable[tuple[list, Path]], kinds: Iterator[str]) -> Iterator[tuple[int, int, int]]:
    """Number of the shard, row in it and number of the class of every photo of a list that level 2 may learn from: not of those that
    were drawn, nor of copies of them, and of none without features.

    Parameters
    ----------
    shards : as `store.fill` gives them
    kinds : the class of every photo, in their order
    """
    manifest = dataset.read_manifest()
    classes = dataset.class_names(manifest)
    drawn = {photo.sha256 for photo in manifest}
    for number, (_, file) in enumerate(shards):
        contents = activations.opened(file)["sha256"].to_pylist()
        for row, (sha256, kind) in enumerate(zip(contents, kinds)):
            if sha256 and sha256 not in drawn:
                yield number, row, classes.index(kind)


def add_listed(params) -> None:
    """Write the averaged features of a list's photos.

    Raises
    ------
    UserError
        Where there is no list, or level 2 needs more than activations.
    """
    from stages.shards import listed, store

    if params["top"]["pooling"] != "average":
        raise UserError(f"top.listed takes averaged features, and top.pooling is {params['top']['pooling']}: set it to average.")
    photos = listed.Listed()
    if not photos.count:
        raise UserError(
            "top.listed takes photos of a bucket or a list, and these are of neither: make repro PHOTOS=s3://bucket/photos"
        )
    network = store.export(WEIGHTS, params, deep.read().about())
    shards = store.fill(network, photos, photos.count, activations.SHARDS)
    rows = np.fromiter(to_learn_from(shards, photos.kinds()), np.dtype((np.int32, 3)))
    np.save(activations.ROWS, rows)
    print(f"level 2 learns from {len(rows)} photos that were not drawn, besides those that were")


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
    if params["top"]["listed"]:
        add_listed(params)


if __name__ == "__main__":
    stage.run("bottleneck", main)
