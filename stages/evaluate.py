"""Score the three levels on validation and test photos. This is the only stage that looks at a test label.

Levels 2 and 3 run on the cached bottleneck features and activations, so that the whole network need not run again.

Writes metrics/metrics.json (`<level>.<split>.accuracy`, `accuracy_low`, `accuracy_high`, `log_loss`, `roc_auc`),
metrics/confusion/, metrics/roc/ (test photos) and data/predictions.csv (every photo's probabilities).
"""

import csv
import json
from pathlib import Path

from stages.lib import quiet, stage  # isort: skip: first, it keeps TensorFlow quiet
import keras
import numpy as np

from stages.lib import activations, dataset, images, metrics, models
from stages.lib.progress import progress

LEVELS = ("small_cnn", "top", "finetune")
SPLITS = ("validation", "test")
METRICS = Path("metrics")
PREDICTIONS = Path("data/predictions.csv")
BATCH_SIZE = 32


def inputs_of(level: str, model: keras.Model, split: str, manifest: list[dataset.Photo]):
    """What a level's model reads for the photos of a split, and those photos."""
    if level == "small_cnn":
        photos = dataset.of_split(manifest, split)
        return images.read([photo.path for photo in photos], model.input_shape[1], f"{split} photos"), photos
    folder = activations.BOTTLENECK if level == "top" else activations.ACTIVATIONS
    views, photos = activations.read(folder, split)
    return views[:, 0], photos


def predict(level: str, model: keras.Model, array: np.ndarray) -> np.ndarray:
    """Probabilities of shape (n, classes)."""
    with progress(len(array), level) as bar:
        outputs = []
        for start in range(0, len(array), BATCH_SIZE):
            outputs.append(models.probabilities(model, array[start : start + BATCH_SIZE].astype(np.float32)))
            bar.update(len(outputs[-1]))
    return np.concatenate(outputs)


def write_csv(path: Path, header: list[str], rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main(params) -> None:
    manifest = dataset.read_manifest()
    classes = dataset.class_names(manifest)
    scores, predictions = {}, []
    for level in LEVELS:
        model = keras.saving.load_model(Path("models", f"{level}.keras"), compile=False)
        scores[level] = {}
        for split in SPLITS:
            array, photos = inputs_of(level, model, split, manifest)
            labels = dataset.labels(photos, classes)
            probabilities = predict(level, model, array)
            scores[level][split] = metrics.scores(labels, probabilities)
            for photo, row in zip(photos, probabilities):
                predictions.append([level, photo.file, photo.kind, *(f"{value:.9g}" for value in row)])
            if split == "test":
                confusion = [(classes[label], classes[row.argmax()]) for label, row in zip(labels, probabilities)]
                write_csv(METRICS / "confusion" / f"{level}.csv", ["actual", "predicted"], confusion)
                curves = range(1, 2) if len(classes) == 2 else range(len(classes))
                curve = [(*point, classes[c]) for c in curves for point in metrics.roc(labels, probabilities, c)]
                header = ["false_positive_rate", "true_positive_rate", "class"]
                write_csv(METRICS / "roc" / f"{level}.csv", header, curve)
    write_csv(PREDICTIONS, ["level", "file", "class", *(f"probability_{name}" for name in classes)], predictions)
    (METRICS / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n")


if __name__ == "__main__":
    stage.run("evaluate", main)
