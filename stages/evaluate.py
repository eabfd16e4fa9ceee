"""Score the three levels on validation and test photos, and on the rest where there is one. Only this stage looks at test
labels.

The trainings have predicted the validation photos already. This stage predicts the test photos. Levels 2 and 3 read the cached
bottleneck features and activations, so the whole network need not run again.

Writes metrics/metrics.json (what one decides by, see `glance`), metrics/scores.csv (all scores of every level and split),
metrics/confusion/, metrics/roc/ (test photos) and data/predictions.csv (every photo's probabilities).
"""

import json
from pathlib import Path

import numpy as np

from stages.core import stage, tables
from stages.core.progress import progress
from stages.frozen import activations
from stages.networks import keras, models
from stages.photos import dataset
from stages.pictures import deep, images
from stages.scores import levels, metrics

METRICS = Path("metrics")
PREDICTIONS = Path("data/predictions.csv")


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
        outputs = []
        for some in models.predicted(model, array):
            outputs.append(some)
            bar.update(len(some))
    return np.concatenate(outputs)


def glance(scores: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """What `dvc metrics diff` compares: few and short enough that `dvc metrics show` fits on a screen.

    `val` and `test` are accuracies, `loss` is the log loss on validation photos. The first level is a baseline: one number.
    """
    first, *others = levels.LEVELS
    found = {first: {"val": scores[first]["validation"]["accuracy"]}}
    for level in others:
        validation, test = (scores[level][split] for split in ("validation", "test"))
        found[level] = {"val": validation["accuracy"], "test": test["accuracy"], "loss": validation["log_loss"]}
    return found


def main(params) -> None:
    manifest = dataset.read_manifest()
    classes = dataset.class_names(manifest)
    photos_of = {split: dataset.of_split(manifest, split) for split in dataset.splits(manifest) if split != "train"}
    scores, predictions = {}, []
    for level in levels.LEVELS:
        validated = np.load(activations.VALIDATION / f"{level}.npy")
        scores[level] = {}
        for split, photos in photos_of.items():
            probabilities = validated if split == "validation" else predict(level, photos, params["fit"])
            labels = dataset.labels(photos, classes)
            scores[level][split] = metrics.scores(labels, probabilities)
            for photo, row in zip(photos, probabilities):
                predictions.append([level, photo.file, photo.kind, *(f"{value:.9g}" for value in row)])
            if split == "test":
                confusion = [(classes[label], classes[row.argmax()]) for label, row in zip(labels, probabilities)]
                tables.write(METRICS / "confusion" / f"{level}.csv", ["actual", "predicted"], confusion)
                curves = range(1, 2) if len(classes) == 2 else range(len(classes))
                curve = [(*point, classes[c]) for c in curves for point in metrics.roc(labels, probabilities, c)]
                header = ["false_positive_rate", "true_positive_rate", "class"]
                tables.write(METRICS / "roc" / f"{level}.csv", header, curve)
    tables.write(PREDICTIONS, ["level", "file", "class", *(f"probability_{name}" for name in classes)], predictions)
    metrics.write(scores)
    (METRICS / "metrics.json").write_text(json.dumps(glance(scores), indent=2) + "\n")


if __name__ == "__main__":
    stage.run("evaluate", main)
