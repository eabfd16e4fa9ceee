"""What a level's model says of a split's photos, and what `dvc metrics diff` compares."""

from pathlib import Path

import numpy as np

from littledata.core.progress import progress
from littledata.features import activations
from littledata.networks import keras, models
from littledata.pictures import deep, images
from littledata.scores import levels
from littledata.splits import dataset

METRICS = Path("metrics")


def inputs_of(level: str, model: keras.Model, photos: list[dataset.Photo], fit: str) -> np.ndarray:
    """What a level's model reads for the photos of a split: an array of shape (n, views, ...)."""
    split = photos[0].split
    if level == "small_cnn":
        reads = [photo.read for photo in photos]
        return images.read(reads, model.input_shape[1], fit, f"{split} photos", deep.read())[:, None]
    views, named = activations.read(activations.BOTTLENECK if level == "top" else activations.ACTIVATIONS, split)
    assert named == photos, "activations of other photos than the manifest's"
    return views


def predict(level: str, photos: list[dataset.Photo], fit: str) -> np.ndarray:
    """Probabilities of a split's photos, of shape (n, classes)."""
    model = keras.saving.load_model(Path("models", f"{level}.keras"), compile=False)
    array = inputs_of(level, model, photos, fit)
    with progress(len(array), level) as bar:
        return models.predict(model, array, bar.update)


def glance(scores: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """What `dvc metrics diff` compares: few and short enough that `dvc metrics show` fits on a screen.

    `val` and `test` are accuracies, `loss` is the log loss on validation photos. The first level is a baseline: one number.
    """
    shown = {}
    for level in levels.LEVELS:
        validation, test = (scores[level][split] for split in ("validation", "test"))
        shown[level] = {"val": validation["accuracy"], "test": test["accuracy"], "loss": validation["log_loss"]}
    return shown | {"small_cnn": {"val": shown["small_cnn"]["val"]}}
