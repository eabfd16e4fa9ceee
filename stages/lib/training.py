"""What the three trainings share: batches of cached views, `fit`, learning curves, repeatable model files."""

import functools
import json
import math
import os
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from stages.lib import activations, dataset, files, models
from stages.lib.errors import UserError

CURVES = Path("metrics/curves")
MIRROR = 1  # keeps the random numbers of mirroring apart from those of the order


class Batches(keras.utils.PyDataset):
    """Batches of (float32 array, labels); every epoch has its own view of a photo.

    Parameters
    ----------
    view : callable (epoch, rows) -> array
        What the photos numbered `rows` look like in an epoch.
    labels : int array of shape (n,)
    seed : int, optional
        Of the order, which changes with every epoch. None: the photos stay in their own.
    part : float
        How much of the photos an epoch has: the first ones of its order.
    """

    def __init__(self, view: Callable, labels: np.ndarray, batch_size: int, seed: int | None = None, part: float = 1) -> None:
        super().__init__()
        self.view, self.labels, self.batch_size, self.seed, self.epoch = view, labels, batch_size, seed, 0
        self.count = max(1, round(part * len(labels)))
        self._reorder()

    def _reorder(self) -> None:
        self.order = np.arange(len(self.labels))
        if self.seed is not None:
            np.random.default_rng([self.seed, self.epoch]).shuffle(self.order)
        self.order = self.order[: self.count]

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._reorder()

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        return self.view(self.epoch, rows).astype(np.float32), self.labels[rows]


def cached(
    folder: Path,
    split: str,
    batch_size: int,
    seed: int | None = None,
    *,
    views: int | None = None,
    part: float = 1,
    mirror: bool = False,
) -> Batches:
    """`Batches` of cached activations or bottleneck features, their views cycled through the epochs.

    In epoch e photo i has view (e + i) mod `views`, so that every batch mixes plain and augmented ones; with 1 every
    epoch has the plain photo. None: all views that are cached. With as many views as epochs this equals augmentation on
    the fly.

    With `mirror` half of the photos, others in every epoch, are mirrored after the fact: their activations, left
    to right. The network's filters are not symmetric, so this is not quite what the mirrored photo would give,
    but it costs nothing.

    Raises
    ------
    UserError
        Where more views are asked for than the folder has.
    """
    array, photos = activations.read(folder, split)
    count = array.shape[1] if views is None else views
    if count > array.shape[1]:
        raise UserError(f"{count} views are asked for, activations.views has made {array.shape[1]}: raise it or ask for fewer.")
    labels = dataset.labels(photos, dataset.class_names(photos))

    @functools.lru_cache(maxsize=1)
    def mirrored(epoch):
        return np.random.default_rng([seed, epoch, MIRROR]).random(len(labels)) < 0.5

    def view(epoch, rows):
        batch = array[rows, (epoch + rows) % count]
        if mirror:
            turned = mirrored(epoch)[rows]
            batch[turned] = batch[turned, :, ::-1]
        return batch

    return Batches(view, labels, batch_size, seed, part)


def optimizer(params: Mapping, steps: int) -> keras.Optimizer:
    """The optimiser by name; `cosine` lowers the rate to nothing over `steps` batches."""
    rate = keras.optimizers.schedules.CosineDecay(params["lr"], steps) if params["schedule"] == "cosine" else params["lr"]
    momentum = {"momentum": params["momentum"]} if params["optimizer"] in ("sgd", "rmsprop") else {}
    return keras.optimizers.get({"class_name": params["optimizer"], "config": {"learning_rate": rate, **momentum}})


def fit(
    name: str, model: keras.Model, train: Batches, validation: Batches, params: Mapping, jit_compile: bool | str = "auto"
) -> None:
    """Train in place and write metrics/curves/<name>.csv.

    With `patience` above 0, training stops once the validation loss has not improved for so many epochs, and the
    weights of its best epoch are kept; with 0 it runs to the end and keeps the last. A part of an epoch counts as one:
    `train` has only that part of the photos.
    """
    epochs = math.ceil(params["epochs"])
    steps = len(train) * epochs
    model.compile(optimizer(params, steps), loss=models.loss(model), metrics=["accuracy"], jit_compile=jit_compile)
    callbacks = []
    if params["patience"]:
        stop = keras.callbacks.EarlyStopping("val_loss", patience=params["patience"], restore_best_weights=True)
        callbacks.append(stop)
    history = model.fit(
        train,
        validation_data=validation,
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,  # `Batches` shuffles, in an order that its seed alone decides
        verbose=1 if sys.stdout.isatty() else 2,
    ).history
    CURVES.mkdir(parents=True, exist_ok=True)
    columns = ["accuracy", "val_accuracy", "loss", "val_loss"]
    rows = zip(*(history[column] for column in columns))
    numbers = (min(epoch, params["epochs"]) for epoch in range(1, epochs + 1))
    lines = [",".join([str(number), *(f"{value:.6f}" for value in row)]) for number, row in zip(numbers, rows)]
    (CURVES / f"{name}.csv").write_text("\n".join([",".join(["epoch", *columns]), *lines]) + "\n")


def save(model: keras.Model, path: Path) -> None:
    """Write a .keras file for inference whose bytes depend on the model alone.

    Keras notes the time of saving in the file's metadata and in the zip around it; here it is always 1980. It also
    marks what layers share by an address in memory; here such objects are counted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    keras.Model(model.inputs, model.outputs, name=model.name).save(part)  # without the optimiser's state
    with zipfile.ZipFile(part) as dated:
        contents = {name: dated.read(name) for name in sorted(dated.namelist())}
    metadata = json.loads(contents["metadata.json"]) | {"date_saved": "1980-01-01"}
    contents["metadata.json"] = json.dumps(metadata).encode()
    addresses: dict[str, str] = {}
    contents["config.json"] = re.sub(
        r'(?<="shared_object_id": )\d+',
        lambda found: addresses.setdefault(found[0], str(len(addresses))),
        contents["config.json"].decode(),
    ).encode()
    files.write_zip(part, contents.items())
    os.replace(part, path)
