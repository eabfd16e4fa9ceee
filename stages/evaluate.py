"""Score the three levels on validation and test photos, and on those that no split took. Only this stage looks at test labels.

The trainings have predicted the validation photos already. This stage predicts the test photos. Levels 2 and 3 read the cached
bottleneck features and activations, so the whole network need not run again.

Writes metrics/metrics.json (what one decides by, see `glance`), metrics/scores.csv (all scores of every level and split),
metrics/confusion/, metrics/roc/ (test photos) and data/predictions.csv (every photo's probabilities).
"""

from littledata.core import process

process.begin("evaluate", __name__)

import json

import numpy as np

from littledata.core import paths, stage, tables
from littledata.core.params import Params
from littledata.features import activations
from littledata.scores import levels, metrics
from littledata.splits import dataset
from littledata.training import evaluate


def main(params: Params) -> None:
    manifest = dataset.read_manifest()
    classes = dataset.class_names(manifest)
    photos_of = {split: dataset.of_split(manifest, split) for split in dataset.splits(manifest) if split != "train"}
    scores, predictions = {}, []
    for level in levels.LEVELS:
        validated = np.load(activations.VALIDATION / f"{level}.npy")
        scores[level] = {}
        for split, photos in photos_of.items():
            probabilities = validated if split == "validation" else evaluate.predict(level, photos, params.fit)
            labels = dataset.labels(photos, classes)
            scores[level][split] = metrics.scores(labels, probabilities)
            for photo, row in zip(photos, probabilities, strict=True):
                predictions.append([level, photo.file, photo.kind, *(f"{value:.9g}" for value in row)])
            if split == "test":
                confusion = [(classes[label], classes[row.argmax()]) for label, row in zip(labels, probabilities, strict=True)]
                tables.write(evaluate.METRICS / "confusion" / f"{level}.csv", ["actual", "predicted"], confusion)
                curves = range(1, 2) if len(classes) == 2 else range(len(classes))
                curve = [(*point, classes[c]) for c in curves for point in metrics.roc(labels, probabilities, c)]
                header = ["false_positive_rate", "true_positive_rate", "class"]
                tables.write(evaluate.METRICS / "roc" / f"{level}.csv", header, curve)
    tables.write(paths.PREDICTIONS, ["level", "file", "class", *(f"probability_{name}" for name in classes)], predictions)
    metrics.write(scores)
    (evaluate.METRICS / "metrics.json").write_text(json.dumps(evaluate.glance(scores), indent=2) + "\n")


if __name__ == "__main__":
    stage.run("evaluate", main)
