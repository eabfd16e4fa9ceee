"""Scores of splits in which classes are missing, and whoever reads them."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from littledata.core import tables
from littledata.report import card
from littledata.scores import levels, metrics
from tools import report, table


def said(classes: int, n: int = 60) -> np.ndarray:
    """Somebody's probabilities: float array of shape (n, classes)."""
    return np.random.default_rng(classes).dirichlet(np.ones(classes), n)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_with_all_classes_scores_are_those_of_scikit_learn(classes):
    probabilities = said(classes)
    labels = np.arange(len(probabilities)) % classes
    found = metrics.scores(labels, probabilities)
    area = roc_auc_score(labels, probabilities[:, 1] if classes == 2 else probabilities, multi_class="ovr")
    assert found["roc_auc"] == pytest.approx(area, abs=1e-6)
    assert found["log_loss"] == pytest.approx(log_loss(labels, probabilities), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(1)), abs=1e-6)


@pytest.mark.parametrize("classes, here", [(2, [0]), (2, [1]), (3, [1]), (3, [0, 2]), (5, [1, 2, 4])])
def test_scores_of_a_split_without_some_classes(classes, here):
    probabilities = said(classes)
    labels = np.resize(here, len(probabilities))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.scores(labels, probabilities)
        curves = {label: metrics.roc(labels, probabilities, label) for label in range(classes)}
    assert found["log_loss"] == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), abs=1e-6)
    right = probabilities.argmax(1) == labels
    assert found["balanced_accuracy"] == pytest.approx(np.mean([right[labels == label].mean() for label in here]), abs=1e-6)
    assert (found["roc_auc"] is None) == (len(here) == 1)
    assert {label for label, curve in curves.items() if curve} == (set(here) if len(here) > 1 else set())


def test_what_could_not_be_computed_is_an_empty_field_that_everybody_can_read(tmp_path):
    of_one, of_both = (metrics.scores(np.array(labels), said(2, 4)) for labels in ([0, 0, 0, 0], [0, 1, 0, 1]))
    given = {level: {"validation": of_both, "test": of_both, "rest": of_one} for level in levels.LEVELS}
    metrics.write(given, tmp_path / "scores.csv")
    assert tables.rows(tmp_path / "scores.csv")[2][-1] == ""
    found = metrics.read(tmp_path / "scores.csv")
    assert found["top"]["rest"]["roc_auc"] is None and found["top"]["test"]["roc_auc"] == of_both["roc_auc"]
    assert sum(line.endswith(" |  |") for line in card.results(found).splitlines()) == len(levels.LEVELS)
    assert "1 small convnet" in table.table(found) and report.digits(None) == "-"
