"""Scores of a level on a split, the file that holds them, and the data behind the plots."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score, roc_curve

from stages.core import tables

SCORES = Path("metrics/scores.csv")
FIELDS = ("n", "accuracy", "balanced_accuracy", "log_loss", "roc_auc")


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy of `right` out of `n`: Wilson's score interval (JASA 22, 1927)."""
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return interval.low, interval.high


def mcnemar(won: int, lost: int) -> float:
    """How likely chance alone splits the photos that changed sides so unevenly: McNemar's exact test (Psychometrika 12, 1947)."""
    return binomtest(won, won + lost).pvalue if won + lost else 1.0


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """What one level is worth on one split, rounded to six digits.

    Parameters
    ----------
    labels : int array of shape (n,)
    probabilities : float array of shape (n, classes), rows adding up to 1

    Returns
    -------
    dict
        `n`, `accuracy`, `balanced_accuracy` (the mean of every class' own), `log_loss`, and `roc_auc` (with more than two
        classes the mean of one against the rest).
    """
    said = probabilities.argmax(1)
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)  # float32's resolution, below it a log loss says nothing
    clipped = clipped / clipped.sum(1, keepdims=True)
    area = roc_auc_score(labels, probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities, multi_class="ovr")
    values = {
        "accuracy": np.mean(said == labels),
        "balanced_accuracy": balanced_accuracy_score(labels, said),
        "log_loss": log_loss(labels, clipped),
        "roc_auc": area,
    }
    return {"n": len(labels)} | {name: round(float(value), 6) for name, value in values.items()}


def with_interval(found: Mapping[str, float]) -> dict[str, float]:
    """The scores with the ends of the accuracy's interval, which follow from it and n: `accuracy_low` and `accuracy_high`."""
    low, high = wilson(round(found["accuracy"] * found["n"]), found["n"])
    ends = {"accuracy_low": round(low, 6), "accuracy_high": round(high, 6)}
    return {"n": found["n"], "accuracy": found["accuracy"], **ends, **found}


def write(found: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path = SCORES) -> None:
    """Write the scores of every level on every split, `found[level][split]`, a row each."""
    rows = [[level, split, *of_split.values()] for level, splits in found.items() for split, of_split in splits.items()]
    tables.write(path, ["level", "split", *FIELDS], rows)


def parse(text: str) -> dict[str, dict[str, dict[str, float]]]:
    """What `write` wrote, and the ends of the intervals: `scores[level][split]`."""
    found: dict[str, dict] = {}
    for row in csv.DictReader(io.StringIO(text)):
        values = {name: (int if name == "n" else float)(row[name]) for name in FIELDS}
        found.setdefault(row["level"], {})[row["split"]] = with_interval(values)
    return found


def read(path: Path = SCORES) -> dict[str, dict[str, dict[str, float]]]:
    """`parse` of the file that `evaluate` wrote last."""
    return parse(path.read_text(encoding="utf-8"))


def roc(labels: np.ndarray, probabilities: np.ndarray, positive: int) -> list[tuple[float, float]]:
    """The ROC curve of one class against the rest: (false positive rate, true positive rate), rounded."""
    false_rate, true_rate, _ = roc_curve(labels == positive, probabilities[:, positive])
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(false_rate, true_rate)]
