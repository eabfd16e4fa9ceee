"""What the tests themselves stand on: the same results whatever the workspace holds, and nothing is started where nothing may be."""

import subprocess

import pytest
from conftest import ROOT, STARTS, change, git, run, settings, snapshot


def test_tests_see_edited_code_but_params_and_results_of_the_commit(tmp_path):
    """After `dvc exp run -S finetune.lr=0.5` or a run on own photos, with work on the code under way."""
    workspace = tmp_path / "workspace"
    git(ROOT, "clone", "--quiet", "--shared", ".", str(workspace))
    change(workspace, finetune__lr=0.5, download__source="path", download__path="~/photos", subsample__train=0.6)
    (workspace / "metrics/metrics.json").write_text("{}")
    (workspace / "dvc.lock").unlink()
    (workspace / "README.md").write_text("edited")
    (workspace / "stages/later.py").write_text("new")
    git(workspace, "rm", "--quiet", "LICENSE")
    project = snapshot(workspace, tmp_path / "project")
    for name in "params.yaml", "metrics/metrics.json", "dvc.lock":
        assert (project / name).read_text() == git(ROOT, "show", f"HEAD:{name}") + "\n", name
    assert (project / "README.md").read_text() == "edited" and (project / "stages/later.py").exists()
    assert not (project / "LICENSE").exists()

    with open(workspace / "params.yaml", "a") as file:
        file.write("later: 1\n")
    committed = settings(ROOT)
    assert settings(snapshot(workspace, tmp_path / "with another param")) == committed | {"later": 1}


def test_what_starts_a_process_or_a_stage_is_skipped_by_the_fast_tests(monkeypatch):
    monkeypatch.setattr("conftest.refused", STARTS | {"run"})
    for start in lambda: subprocess.run(["true"]), lambda: run(ROOT, "dvc"):
        with pytest.raises(pytest.skip.Exception, match="--fast: (subprocess.Popen|run)"):
            start()
