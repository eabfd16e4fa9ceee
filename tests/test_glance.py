"""What one sees of an experiment at a glance."""

import json

import pytest
from conftest import copied, run, stages_run

from littledata.core import measured
from littledata.scores import metrics

RATE = "finetune.lr=0.02"


@pytest.fixture(scope="module")
def project(pipeline, tmp_path_factory):
    """A clone with an experiment of another rate, in the workspace and not committed yet."""
    folder = copied(pipeline, tmp_path_factory.mktemp("glance"))
    output = run(folder, "dvc", "exp", "run", "-S", RATE, "-n", "faster")
    assert stages_run(output) == ["finetune", "evaluate"], output
    return folder


def widest(printed: str) -> int:
    return max(map(len, printed.splitlines()))


def test_a_changed_rate_is_a_few_rows_that_fit_on_a_screen(project):
    header, *rows = run(project, "dvc", "metrics", "diff").splitlines()
    assert 0 < len(rows) <= 8 and all("  finetune." in row for row in rows) and "finetune.loss" in str(rows)
    for words in (["metrics", "diff"], ["metrics", "show"], ["exp", "show", "--only-changed"]):
        assert widest(run(project, "dvc", *words)) <= 120, words
    assert "finetune.lr" in run(project, "dvc", "exp", "show", "--only-changed")


def test_experiments_are_listed_with_what_they_took_here(project):
    header, workspace, _, experiment = run(project, "tools.experiments").splitlines()
    assert header.split() == ["level", "1", "level", "2", "level", "3", "log", "loss", "seconds", "finetune.lr"]
    scores = metrics.read(project / metrics.SCORES)["finetune"]["validation"]
    for row in workspace, experiment:
        *_, accuracy, loss, seconds, unit, rate = row.split()
        assert (accuracy, loss) == (f"{scores['accuracy']:.4f}", f"{scores['log_loss']:.4f}")
        assert int(seconds) > 0 and (unit, rate) == ("s", "0.02")
    assert experiment.startswith("faster")
    took = project / measured.MEASURED
    took.rename(project / "aside")
    try:
        assert run(project, "tools.experiments").count("not measured here") == 2
    finally:
        (project / "aside").rename(took)


def test_metrics_json_is_what_one_decides_by(project):
    shown = json.loads((project / "metrics/metrics.json").read_text())
    scores = metrics.read(project / metrics.SCORES)
    assert list(shown) == list(scores) and shown["small_cnn"] == {"val": scores["small_cnn"]["validation"]["accuracy"]}
    for level in "top", "finetune":
        validation, test = scores[level]["validation"], scores[level]["test"]
        assert shown[level] == {"val": validation["accuracy"], "test": test["accuracy"], "loss": validation["log_loss"]}
