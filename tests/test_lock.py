"""check-lock on clones of the committed project: it belongs, and what does not is named by stage. No stage runs."""

import contextlib
from pathlib import Path

import pytest
from conftest import ROOT, git, run
from ruamel.yaml import YAML

from littledata.core import lockfile
from tools import lock

ZEROS = 32 * "0"


@pytest.fixture
def project(tmp_path) -> Path:
    """The last commit."""
    git(tmp_path, "clone", "--quiet", str(ROOT), "clone")
    return tmp_path / "clone"


def check(project: Path) -> list[str]:
    """The lines about stages that check-lock prints; none if it passes."""
    with contextlib.chdir(project):
        return lock.differences()


def begins(lines: list[str]) -> list[str]:
    return [line.split(" is ")[0] for line in lines]


def edited(file: Path, edit) -> None:
    """Apply `edit` to the tree that a YAML file holds."""
    yaml = YAML()
    tree = yaml.load(file)
    edit(tree)
    yaml.dump(tree, file)


def entry(tree: dict, stage: str, group: str, path: str) -> dict:
    """What a lock says of a path."""
    return next(file for file in tree["stages"][stage][group] if file["path"] == path)


def test_the_committed_lock_belongs(project):
    assert run(project, "tools.lock") == "dvc.lock belongs to params.yaml, dvc.yaml, the code and the metrics.\n"
    edited(project / "dvc.yaml", lambda tree: tree["stages"]["finetune"].update(cmd="python -m stages.other"))
    line, last = run(project, "tools.lock", check=False).splitlines()
    assert line == "finetune: cmd is python -m stages.other; in dvc.lock python -m stages.finetune"
    assert last.startswith("dvc.lock does not belong to what is in git")
    (project / "dvc.lock").write_text("<<<<<<< ours\n" + (project / "dvc.lock").read_text())
    (line,) = run(project, "tools.lock", check=False).splitlines()
    assert "is not valid YAML" in line


def test_changed_params_and_code_name_the_stages_that_read_them(project):
    edited(project / "params.yaml", lambda tree: tree["top"].update(units=7))
    lines = check(project)
    assert begins(lines) == [f"{stage}: param top.units" for stage in ("top", "finetune", "card")]
    assert lines[0].startswith("top: param top.units is 7; in dvc.lock ")
    git(project, "restore", ".")
    with open(project / "littledata/scores/metrics.py", "a") as file:
        file.write("\n")
    stages, edit = lockfile.stages(ROOT / "dvc.yaml", ROOT / "publish/dvc.yaml"), "littledata/scores/metrics.py"
    readers = {name: path for name, stage in stages.items() if (path := lockfile.holder(edit, stage["deps"]))}
    assert begins(check(project)) == [f"{name}: {path}" for name, path in readers.items()] and "evaluate" in readers


def test_a_file_in_a_folder_that_a_stage_made_is_taken_on_trust_where_it_is_not_here(project):
    """data/raw is one output, and stages read a file of it."""
    assert not (project / "data/raw").exists() and check(project) == []
    (project / "data/raw").mkdir()
    (project / "data/raw/source.json").write_text("{}")
    assert begins(check(project)) == [f"{stage}: data/raw/source.json" for stage in ("export", "card")]


def test_a_changed_metric_and_a_lost_plot(project):
    with open(project / "metrics/metrics.json", "a") as file:
        file.write("\n")
    (project / "metrics/curves/top/plots/metrics/loss.tsv").unlink()
    assert begins(check(project)) == ["top: metrics/curves/top/plots", "evaluate: metrics/metrics.json"]


def test_a_changed_declaration(project):
    def edit(tree):
        tree["stages"]["bottleneck"]["deps"].remove("littledata/networks/backbone.py")
        tree["stages"]["top"]["params"].append("preprocessing")
        tree["stages"]["later"] = {"cmd": "true"}

    edited(project / "dvc.yaml", edit)
    assert check(project) == [
        "bottleneck: only dvc.lock has littledata/networks/backbone.py",
        "top: dvc.lock does not have param preprocessing",
        "later: dvc.lock does not have this stage",
    ]


@pytest.mark.parametrize(
    "stage, group, path, named",
    [
        ("download", "deps", "stages/download.py", ["download"]),
        ("small_cnn", "outs", "metrics/curves/small_cnn/plots", ["small_cnn", "card"]),
        ("finetune", "deps", "models/top.keras", ["finetune"]),
        ("top", "outs", "models/top.keras", ["finetune", "evaluate", "export", "gallery"]),  # no data here: its readers tell
    ],
)
def test_a_md5_changed_by_hand(project, stage, group, path, named):
    edited(project / "dvc.lock", lambda tree: entry(tree, stage, group, path).update(md5=ZEROS))
    lines = check(project)
    assert [line.split(": ")[0] for line in lines] == named
    assert all(path in line and ZEROS in line for line in lines)
    assert path != "models/top.keras" or all("by stage top; in dvc.lock" in line for line in lines)


def test_a_param_changed_and_a_stage_removed_by_hand(project):
    def edit(tree):
        tree["stages"]["finetune"]["params"]["params.yaml"]["finetune"]["lr"] = 0.7
        del tree["stages"]["pretrained"]

    edited(project / "dvc.lock", edit)
    lines = check(project)
    assert "pretrained: dvc.lock does not have this stage" in lines
    assert any(line.startswith("finetune: param finetune.lr is ") and line.endswith("; in dvc.lock 0.7") for line in lines)
    readers = {line.split(": ")[0] for line in lines if "models/backbone.weights.h5 is not there, by stage pretrained" in line}
    assert readers == {"activations", "bottleneck", "finetune", "export"}


def test_lines_end_as_they_are_locked_whatever_git_is_told(tmp_path):
    """With core.autocrlf Git would write other bytes than dvc.lock has digests of."""
    git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", str(ROOT), "clone")
    assert check(tmp_path / "clone") == []
