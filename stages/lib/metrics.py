"""Scores of one level on one split, and the data behind its plots."""

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score, roc_curve


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy of `right` out of `n`: Wilson's score interval (JASA 22, 1927)."""
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return interval.low, interval.high


def mcnemar(won: int, lost: int) -> float:
    """How likely chance alone splits the photos that changed sides so unevenly: McNemar's exact test (Psychometrika 12, 1947)."""
    return binomtest(won, won + lost).pvalue if won + lost else 1.0


def scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy with its 95 % interval, log loss and ROC AUC, rounded to six digits.

    Parameters
    ----------
    labels : int array of shape (n,)
    probabilities : float array of shape (n, classes), rows adding up to 1

    Returns
    -------
    dict
        `accuracy`, `accuracy_low` and `accuracy_high` (`wilson`), `balanced_accuracy` (the
        mean of every class' own), `log_loss`, and `roc_auc` (with more than two classes the mean of one against the rest).
    """
    said = probabilities.argmax(1)
    right = int(np.sum(said == labels))
    low, high = wilson(right, len(labels))
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)  # float32's resolution, below it a log loss says nothing
    clipped = clipped / clipped.sum(1, keepdims=True)
    area = roc_auc_score(labels, probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities, multi_class="ovr")
    values = {
        "accuracy": right / len(labels),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": balanced_accuracy_score(labels, said),
        "log_loss": log_loss(labels, clipped),
        "roc_auc": area,
    }
    return {name: round(float(value), 6) for name, value in values.items()}


def roc(labels: np.ndarray, probabilities: np.ndarray, positive: int) -> list[tuple[float, float]]:
    """The ROC curve of one class against the rest: (false positive rate, true positive rate), rounded."""
    false_rate, true_rate, _ = roc_curve(labels == positive, probabilities[:, positive])
    return [(round(float(x), 6), round(float(y), 6)) for x, y in zip(false_rate, true_rate)]
