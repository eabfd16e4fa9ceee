"""Compute bottleneck features: run the pretrained rest of the network over the cached activations.

Writes data/bottleneck/<split>.npy and .csv, the network's output (VGG16's: that of block5's pooling) for every view. With
`top.listed` also the averaged output for all other photos of a bucket or list, which are read from there, shard by shard: on this
machine, or with ENGINE=ray on a cluster. `activations` says what is written of them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from littledata.core import files
from littledata.core.errors import UserError
from littledata.features import activations
from littledata.photos import listing
from littledata.pictures import deep
from littledata.splits import dataset

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
    from littledata.shards import store

    if next(listing.read(LISTED), None) is None:
        raise UserError(
            "top.listed takes photos of a bucket or a list, and these are of neither: make repro PHOTOS=s3://bucket/photos"
        )
    network = store.export(WEIGHTS, params, deep.read().about())
    rows = np.fromiter(to_learn_from(store.fill(network, LISTED, activations.SHARDS)), np.dtype((np.int32, 3)))
    with files.whole(activations.ROWS) as file:
        np.save(file, rows)
    print(f"level 2 learns from {len(rows)} photos that were not drawn, besides those that were")
