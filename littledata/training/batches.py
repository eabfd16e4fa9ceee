"""The batches that a training sees: views and order of the photos change with every epoch.

Between two looks at the validation photos it sees an epoch, or a part of one.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from littledata.features import activations
from littledata.networks import keras, models
from littledata.splits import dataset

MIRROR = 1  # keeps its random numbers apart from those of the order


class Batches(keras.utils.PyDataset):
    """Batches of (float32 array, targets, weights) from one look at the validation photos to the next; every epoch has its own
    order and its own view of a photo.

    All batches are of one size, since XLA compiles for each: the last of an epoch is filled up with the first photos of it. Weights
    give every class the same share in the loss, however many photos it has.

    Parameters
    ----------
    view : callable (epoch, rows) -> array
        What the photos numbered `rows` look like in an epoch.
    labels : int array of shape (n,)
    seed : int
        Of the order.
    look : int, optional
        After about how many photos there is a look; an epoch has a whole number of them. None: one.
    """

    def __init__(self, view: Callable, labels: np.ndarray, batch_size: int, seed: int, look: int | None = None) -> None:
        super().__init__()
        self.view, self.labels, self.batch_size, self.seed = view, labels, min(batch_size, len(labels)), seed
        self.steps = -(-len(labels) // self.batch_size)  # of an epoch
        self.looks = min(self.steps, max(1, round(len(labels) / (look or len(labels)))))
        self.targets, self.weights = models.targets(labels), models.class_weights(labels)
        self.start(0)

    def start(self, look: int) -> None:
        """Have the batches that come before this look, counted from 0."""
        epoch, part = divmod(look, self.looks)
        self.epoch, order = epoch + 1, np.arange(len(self.labels))
        np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        self.order = np.resize(order, self.steps * self.batch_size)
        self.first, self.end = (self.steps * end // self.looks for end in (part, part + 1))

    def __len__(self) -> int:
        return self.end - self.first

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        number += self.first
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        return self.view(self.epoch, rows).astype(np.float32), self.targets[rows], self.weights[rows]


def cached(
    folder: Path, batch_size: int, seed: int, *, views: int | None = None, look: int | None = None, mirror: bool = False
) -> Batches:
    """`Batches` of the training photos' cached activations or bottleneck features, their views cycled through the epochs.

    In epoch e photo i has view (e - 1 + i) mod `views`, so that every batch mixes plain and augmented ones; with 1 every
    epoch has the plain photo. None: all views that are cached. With as many views as epochs this equals augmentation on
    the fly.

    With `mirror` half of the photos, others in every epoch, are mirrored after the fact: their activations, left
    to right. The network's filters are not symmetric, so this is not quite what the mirrored photo would give,
    but it costs nothing.
    """
    array, photos = activations.read(folder, "train")
    count = array.shape[1] if views is None else views
    labels = dataset.labels(photos, dataset.class_names(photos))

    @functools.lru_cache(maxsize=1)
    def mirrored(epoch):
        return np.random.default_rng([seed, epoch, MIRROR]).random(len(labels)) < 0.5

    def view(epoch, rows):
        batch = array[rows, (epoch - 1 + rows) % count]
        if mirror:
            turned = mirrored(epoch)[rows]
            batch[turned] = batch[turned, :, ::-1]
        return batch

    return Batches(view, labels, batch_size, seed, look)


def averaged(batch_size: int, seed: int, views: int | None) -> Batches:
    """`Batches` of averaged bottleneck features, of shape (n, 1, 1, channels): of the training photos that were drawn, in the views
    that `cached` has, and of the other photos of the list."""
    drawn, listed = cached(activations.BOTTLENECK, batch_size, seed, views=views), activations.Averages()
    count = len(drawn.labels)

    def view(epoch, rows):
        is_drawn = rows < count
        batch = np.empty((len(rows), 1, 1, listed.features), np.float32)
        batch[is_drawn] = drawn.view(epoch, rows[is_drawn]).astype(np.float32).mean((1, 2), keepdims=True)
        batch[~is_drawn, 0, 0] = listed.read(rows[~is_drawn] - count)
        return batch

    return Batches(view, np.concatenate([drawn.labels, listed.labels]), batch_size, seed)


def validation(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What is cached of the validation photos, an array of shape (n, views, ...), and their classes' numbers."""
    array, photos = activations.read(folder, "validation")
    return array, dataset.labels(photos, dataset.class_names(photos))
