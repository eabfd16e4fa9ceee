"""Scores of a level on a split, the file that holds them, and the data behind the plots."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import log_loss, roc_auc_score, roc_curve

from littledata.core import tables

SCORES = Path("metrics/scores.csv")
FIELDS = ("n", "accuracy", "balanced_accuracy", "log_loss", "roc_auc")


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy of `right` out of `n`: Wilson's score interval (JASA 22, 1927)."""
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return interval.low, interval.high


def mcnemar(won: int, lost: int) -> float:
    """How likely chance alone splits the photos that changed sides so unevenly: McNemar's exact test (Psychometrika 12, 1947)."""
    return binomtest(won, won + lost).pvalue if won + lost else 1.0


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """What one level is worth on one split, rounded to six digits.

    Parameters
    ----------
    labels : int array of shape (n,)
    probabilities : float array of shape (n, classes), rows adding up to 1

    Returns
    -------
    dict
        `n`, `accuracy`, `balanced_accuracy` (the mean of every class' own), `log_loss`, and `roc_auc` (with more than two
        classes the mean of one against the rest). Of classes that have no photo in the split the means take no notice;
        `roc_auc` is None where all photos are of one class.
    """
    predicted = probabilities.argmax(1)
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)  # float32's resolution, below it a log loss says nothing
    clipped = clipped / clipped.sum(1, keepdims=True)
    values = {
        "accuracy": np.mean(predicted == labels),
        "balanced_accuracy": np.mean([np.mean(predicted[labels == label] == label) for label in np.unique(labels)]),
        "log_loss": log_loss(labels, clipped, labels=range(probabilities.shape[1])),
        "roc_auc": area(labels, probabilities),
    }
    return {"n": len(labels)} | {name: None if value is None else round(float(value), 6) for name, value in values.items()}


def area(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """The area under the ROC curve, the mean over one class against the rest; None where there are no two classes."""
    here = np.unique(labels)
    if len(here) < 2:
        return None
    positive = [1] if probabilities.shape[1] == 2 else here
    return np.mean([roc_auc_score(labels == label, probabilities[:, label]) for label in positive])


def with_interval(score: Mapping[str, float]) -> dict[str, float]:
    """The scores with the ends of the accuracy's interval, which follow from it and n: `accuracy_low` and `accuracy_high`."""
    low, high = wilson(round(score["accuracy"] * score["n"]), int(score["n"]))
    ends = {"accuracy_low": round(low, 6), "accuracy_high": round(high, 6)}
    return {"n": score["n"], "accuracy": score["accuracy"], **ends, **score}


def write(scores: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path = SCORES) -> None:
    """Write the scores of every level on every split, `scores[level][split]`, a row each."""
    rows = [[level, split, *of_split.values()] for level, splits in scores.items() for split, of_split in splits.items()]
    tables.write(path, ["level", "split", *FIELDS], rows)


def parse(text: str) -> dict[str, dict[str, dict[str, float]]]:
    """What `write` wrote, and the ends of the intervals: `scores[level][split]`; None for what could not be computed."""
    scores: dict[str, dict] = {}
    for row in csv.DictReader(io.StringIO(text)):
        values = {name: (int if name == "n" else float)(row[name]) if row[name] else None for name in FIELDS}
        scores.setdefault(row["level"], {})[row["split"]] = with_interval(values)
    return scores


def read(path: Path = SCORES) -> dict[str, dict[str, dict[str, float]]]:
    """`parse` of the file that `evaluate` wrote last."""
    return parse(path.read_text(encoding="utf-8"))


def roc(labels: np.ndarray, probabilities: np.ndarray, positive: int) -> list[tuple[float, float]]:
    """The ROC curve of one class against the rest: (false positive rate, true positive rate), rounded; none without both."""
    if len(set(labels == positive)) < 2:
        return []  # neither rate is one of none
    false_rate, true_rate, _ = roc_curve(labels == positive, probabilities[:, positive])
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(false_rate, true_rate, strict=True)]
