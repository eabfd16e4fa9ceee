"""check-lock on clones of the committed project: it belongs, and what does not is named by stage. No stage runs."""

from pathlib import Path

import pytest
from conftest import ROOT, attempt, git, run
from ruamel.yaml import YAML

ZEROS = 32 * "0"


@pytest.fixture
def project(tmp_path) -> Path:
    """The last commit."""
    git(tmp_path, "clone", "--quiet", str(ROOT), "clone")
    return tmp_path / "clone"


def check(project: Path) -> list[str]:
    """The lines about stages that check-lock prints; none if it passes."""
    status, printed = attempt(project, "tools.lock")
    if not status:
        assert printed == "dvc.lock belongs to params.yaml, dvc.yaml, the code and the metrics.\n"
        return []
    *lines, last = printed.splitlines()
    assert lines and last.startswith("dvc.lock does not belong to what is in git"), printed
    return lines


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
    assert check(project) == []


def test_a_changed_param_names_the_stages_that_read_it(project):
    edited(project / "params.yaml", lambda tree: tree["top"].update(units=7))
    lines = check(project)
    assert [line.split(" is ")[0] for line in lines] == [f"{stage}: param top.units" for stage in ("top", "finetune", "card")]
    assert lines[0].startswith("top: param top.units is 7; in dvc.lock ")


READERS = ("evaluate", "export", "quantize", "diagnose", "card")


def test_changed_code_names_the_stages_that_import_it(project):
    with open(project / "littledata/scores/metrics.py", "a") as file:
        file.write("\n")
    lines = check(project)
    assert [line.split(" is ")[0] for line in lines] == [f"{stage}: littledata/scores/metrics.py" for stage in READERS]


def test_a_file_in_a_folder_that_a_stage_made_is_taken_on_trust_where_it_is_not_here(project):
    """data/raw is one output, and stages read a file of it."""
    assert not (project / "data/raw").exists() and check(project) == []
    (project / "data/raw").mkdir()
    (project / "data/raw/source.json").write_text("{}")
    assert [line.split(" is ")[0] for line in check(project)] == [f"{stage}: data/raw/source.json" for stage in ("export", "card")]


def test_a_changed_metric_and_a_lost_plot(project):
    with open(project / "metrics/metrics.json", "a") as file:
        file.write("\n")
    (project / "metrics/curves/top/plots/metrics/loss.tsv").unlink()
    top, evaluate, card = check(project)
    assert top.startswith("top: metrics/curves/top/plots is ") and card.startswith("card: metrics/curves/top/plots is ")
    assert evaluate.startswith("evaluate: metrics/metrics.json is ")


def test_a_changed_command(project):
    edited(project / "dvc.yaml", lambda tree: tree["stages"]["finetune"].update(cmd="python -m stages.other"))
    assert check(project) == ["finetune: cmd is python -m stages.other; in dvc.lock python -m stages.finetune"]


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


def test_a_lock_with_conflict_markers_is_one_clear_line(project):
    lock = project / "dvc.lock"
    lock.write_text("<<<<<<< ours\n" + lock.read_text())
    (line,) = run(project, "tools.lock", check=False).splitlines()
    assert "is not valid YAML" in line


def test_lines_end_as_they_are_locked_whatever_git_is_told(tmp_path):
    """With core.autocrlf Git would write other bytes than dvc.lock has digests of."""
    git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", str(ROOT), "clone")
    assert check(tmp_path / "clone") == []
