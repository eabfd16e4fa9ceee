"""What each level's probabilities for test photos are worth: precision and recall, and calibration.

Writes metrics/levels.csv, accuracies beside the blog's; metrics/precision_recall/<level>.csv, for the second class of two
or for every class against the rest; and metrics/calibration/<level>.csv: of photos that were said with so much confidence, how
many were right.
"""

from pathlib import Path

import numpy as np
from sklearn.metrics import precision_recall_curve

from littledata.scores import levels

METRICS = Path("metrics")
GROUPS = 10


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, how many) for groups of photos, the least sure first; as many in each group.

    Confidence is the probability of the class that is said. Bins of the same width, as they are usual, would hold two or
    three photos each but for the last, where a network is as sure as these are.
    """
    said, sure = probabilities.argmax(1), probabilities.max(1)
    groups = np.array_split(np.argsort(sure, kind="stable"), min(GROUPS, len(labels)))
    return [
        (round(float(sure[some].mean()), 6), round(float(np.mean(said[some] == labels[some])), 6), len(some)) for some in groups
    ]


def accuracies(scores: dict, classes: list[str]) -> list[tuple[str, float]]:
    """(what, accuracy): each level's, validation and test, below what the blog has for cats and dogs, in the middle."""
    found = []
    for level, name in levels.LEVELS.items():
        found += [(f"{name}: the blog", round(sum(levels.BLOG[level]) / 2, 3))] if classes == levels.BLOG_CLASSES else []
        found += [(f"{name}: {split}", scores[level][split]["accuracy"]) for split in ("validation", "test")]
    return found


def precision_recall(labels: np.ndarray, probabilities: np.ndarray, positive: int) -> list[tuple[float, float]]:
    """The curve of one class against the rest: (recall, precision), rounded."""
    precision, recall, _ = precision_recall_curve(labels == positive, probabilities[:, positive])
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(recall, precision)]
