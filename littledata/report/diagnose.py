"""How far probabilities for test photos can be trusted: calibration, and precision and recall."""

from pathlib import Path

import numpy as np
from sklearn.metrics import precision_recall_curve

from littledata.scores import levels

METRICS = Path("metrics")
GROUPS = 10


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, number of photos) of groups of photos, the least sure first, as many photos in each group.

    Confidence is the probability of the class that is predicted. The usual bins of one width would hold two or three photos each
    but for the last one, where a network is as sure as these are.
    """
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    right = predicted == labels
    groups = np.array_split(np.argsort(confidence, kind="stable"), min(GROUPS, len(labels)))
    return [(round(float(confidence[g].mean()), 6), round(float(right[g].mean()), 6), len(g)) for g in groups]


def accuracies(scores: dict, classes: list[str]) -> list[tuple[str, float]]:
    """(name, accuracy) of each level on validation and test photos; for cats and dogs below the middle of what the blog has."""
    rows = []
    for level, name in levels.LEVELS.items():
        rows += [(f"{name}: the blog", round(sum(levels.BLOG[level]) / 2, 3))] if classes == levels.BLOG_CLASSES else []
        rows += [(f"{name}: {split}", scores[level][split]["accuracy"]) for split in ("validation", "test")]
    return rows


def precision_recall(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> list[tuple[float, float, str]]:
    """(recall, precision, class) along the curve of the second class of two, or of each class against all others."""
    rows = []
    for positive in range(len(classes)) if len(classes) > 2 else [1]:
        precision, recall, _ = precision_recall_curve(labels == positive, probabilities[:, positive])
        rows += [(round(float(x), 6), round(float(y), 6), classes[positive]) for x, y in zip(recall, precision, strict=True)]
    return rows
