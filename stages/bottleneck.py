"""Compute bottleneck features: run the pretrained rest of the network over the cached activations.

Writes data/bottleneck/<split>.npy and .csv, the network's output (VGG16's: that of block5's pooling) for every view. With
`top.listed` also the averaged output for all other photos of a bucket or list, which are read from there, shard by shard: on this
machine, or with ENGINE=ray on a cluster. `activations` says what is written of them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from stages.core import files, stage
from stages.core.errors import UserError
from stages.core.progress import progress
from stages.frozen import activations, layers
from stages.photos import dataset
from stages.pictures import deep
from stages.shards import listing

WEIGHTS = Path("models/backbone.weights.h5")
LISTED = Path("data/listed.csv")


def to_learn_from(shards: Iterable[Path]) -> Iterator[tuple[int, int, int]]:
    """Number of the shard, row in it and number of the class of every photo of the list that level 2 may learn from: not of those
    that were drawn, nor of copies of them, and of none without features. `shards` are as `store.fill` gives them."""
    manifest, photos = dataset.read_manifest(), listing.read(LISTED)
    classes, drawn = dataset.class_names(manifest), {photo.sha256 for photo in manifest}
    for number, file in enumerate(shards):
        contents = activations.opened(file)["sha256"].to_pylist()
        for row, (sha256, photo) in enumerate(zip(contents, photos)):
            if sha256 and sha256 not in drawn:
                yield number, row, classes.index(photo.kind)


def add_listed(params) -> None:
    """Write the averaged features of a list's photos.

    Raises
    ------
    UserError
        Where there is no list.
    """
    from stages.shards import store

    if next(listing.read(LISTED), None) is None:
        raise UserError("top.listed takes photos of a bucket or a list, and these are of neither: make repro PHOTOS=s3://bucket/photos")
    network = store.export(WEIGHTS, params, deep.read().about())
    rows = np.fromiter(to_learn_from(store.fill(network, LISTED, activations.SHARDS)), np.dtype((np.int32, 3)))
    with files.whole(activations.ROWS) as file:
        np.save(file, rows)
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
