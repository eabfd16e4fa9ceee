"""What each level's probabilities for test photos are worth: precision and recall, and calibration.

Writes metrics/precision_recall/<level>.csv, for the second class of two or for every class against the rest, and
metrics/calibration/<level>.csv: of photos that were said with so much confidence, how many were right.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

from stages.lib import stage  # isort: skip: first the clock starts
import numpy as np
from sklearn.metrics import precision_recall_curve

from stages.lib import predicted

LEVELS = ("small_cnn", "top", "finetune")
METRICS = Path("metrics")
BINS = 10


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, how many) for photos in bins of confidence, the probability of the class that is said.

    Bins are of the same width from a guess, one over the number of classes, to 1; empty ones are left out.
    """
    said, sure = probabilities.argmax(1), probabilities.max(1)
    edges = np.linspace(1 / probabilities.shape[1], 1, BINS + 1)
    number = np.clip(np.digitize(sure, edges) - 1, 0, BINS - 1)
    bins = (number == n for n in range(BINS))
    return [
        (round(float(sure[some].mean()), 6), round(float(np.mean(said[some] == labels[some])), 6), int(some.sum()))
        for some in bins
        if some.any()
    ]


def precision_recall(labels: np.ndarray, probabilities: np.ndarray, positive: int) -> list[tuple[float, float]]:
    """The curve of one class against the rest: (recall, precision), rounded."""
    precision, recall, _ = precision_recall_curve(labels == positive, probabilities[:, positive])
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(recall, precision)]


def write(path: Path, header: list[str], rows: Iterable) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main(params) -> None:
    for level in LEVELS:
        _, labels, probabilities, classes = predicted.read(level, "test")
        write(METRICS / "calibration" / f"{level}.csv", ["confidence", "accuracy", "photos"], calibration(labels, probabilities))
        shown = range(1, 2) if len(classes) == 2 else range(len(classes))
        rows = ((*point, classes[number]) for number in shown for point in precision_recall(labels, probabilities, number))
        write(METRICS / "precision_recall" / f"{level}.csv", ["recall", "precision", "class"], rows)


if __name__ == "__main__":
    stage.run("diagnose", main)
