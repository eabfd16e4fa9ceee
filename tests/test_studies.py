"""What measures: a recipe several times, and faults that are inflicted on purpose."""

import json
import random
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from conftest import ROOT, offline, own, run

from littledata.core import files, params
from littledata.core.errors import UserError
from littledata.scores import levels, metrics
from littledata.splits import dataset
from studies import compare, copies, measure
from studies.faults import __main__ as faults
from studies.faults import ground


def tree(folder) -> dict[str, bytes]:
    """What a study must leave as it was."""
    return {str(path): path.read_bytes() for top in ("metrics", "models", "data") for path in files.of(folder / top)}


def test_a_fold_of_a_set_and_a_set_with_splits_of_the_same_name(pipeline, photos, tmp_path):
    split, to, before = tmp_path / "one/mine.v1", tmp_path / "sets.json", tree(pipeline)
    for name, of_split in {"train": slice(0, 12), "test": slice(12, 15)}.items():
        own(split / name, {kind: of_kind[of_split] for kind, of_kind in photos.items()})
    own(tmp_path / "two/mine.v1", photos)
    places = [f"{split}/train/..", str(tmp_path / "two/mine.v1")]
    to.write_text('{"rows": {"other": {"scores": {}, "gains": {}}}}')
    quick = ["top.epochs=1", "finetune.epochs=1"]
    output = run(pipeline, "studies.compare", *places, *quick, "--folds", "2", "2", "--to", str(to))
    assert output.startswith("Level 1 is left out.") and "The folders' own splits are set aside" in output
    assert not list((pipeline / compare.COPIES).iterdir()) and tree(pipeline) == before
    rows = json.loads(to.read_text())["rows"]
    assert list(rows) == ["other", *(f"{place} {' '.join(quick)}" for place in places)], "what is there of others stays"
    few, one = list(rows.values())[1:]
    assert few["scores"]["top"]["test"]["n"] == 6 and one["params"][:2] == quick
    scores, gain = one["scores"], one["gains"]["finetune, on top"]["test"]
    for level in ("top", "finetune"):
        of_level = scores[level]["test"]
        assert of_level["n"] == 12 and of_level["runs"] == [of_level["accuracy"]] and of_level["std"] is None
        assert of_level["interval"][0] <= of_level["accuracy"] <= of_level["interval"][1]
    difference = scores["finetune"]["test"]["accuracy"] - scores["top"]["test"]["accuracy"]
    assert gain["difference"] == pytest.approx(difference, abs=2e-4) == pytest.approx((gain["won"] - gain["lost"]) / 12, abs=2e-4)
    assert all(line in output for line in compare.lines({"a row": one})[-1].splitlines()[2:] if "a row" not in line)


@pytest.mark.slow  # trains all three levels anew
def test_seeds_redraw_and_retrain_and_leave_the_workspace_as_it_was(pipeline, tmp_path):
    before, to = tree(pipeline), tmp_path / "seeds.json"
    output = run(pipeline, "studies.compare", "--seeds", "1", "9", "--to", str(to))
    assert tree(pipeline) == before
    row, scores = json.loads(to.read_text())["rows"]["default"], metrics.read(pipeline / metrics.SCORES)
    for level in levels.LEVELS:
        for split, photos in (("validation", 20), ("test", 16)):
            of_level = row["scores"][level][split]
            assert of_level["n"] == 2 * photos and len(set(of_level["runs"])) <= 2
            assert of_level["runs"][0] == pytest.approx(scores[level][split]["accuracy"], abs=1e-4), "seed 1 is the pipeline's own"
            assert of_level["accuracy"] == pytest.approx(np.mean(of_level["runs"]), abs=1e-4)
    assert output.endswith(run(pipeline, "studies.compare", "--show", str(to)))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["none"], "There is no "),
        (["s3://team/photos"], "There is no s3://team/photos here"),
        (["--show", "studies/results/benchmark.json"], "benchmark.json is no file that"),
        (["--show", "nothing.json"], "nothing.json is no file that"),
        (["--folds", "6"], "invalid choice: 6"),
        (["finetun.lr=1"], "finetun"),
        (["--recipe", "dark"], "There is no recipe dark."),
    ],
)
def test_a_wrong_word_is_told_before_anything_runs(monkeypatch, capsys, words, line):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    monkeypatch.setattr(copies, "Copy", None)
    with pytest.raises((UserError, SystemExit)) as raised:
        compare.main()
    assert line in f"{raised.value}{capsys.readouterr().err}"


def test_every_idea_changes_params_that_there_are(monkeypatch):
    monkeypatch.chdir(ROOT)
    default = copies.settings(None)
    for name, words in params.read(ROOT / "studies/ideas.yaml").items():
        assert copies.settings(None, words.split()) != default, name


def test_a_stopped_study_leaves_no_stage_running(pipeline, photos, tmp_path):
    words = [sys.executable, "-m", "studies.compare", str(own(tmp_path / "mine", photos)), "--to", str(tmp_path / "sets.json")]
    with subprocess.Popen(words, cwd=pipeline, env=offline(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as study:
        while not (stage := ground.of_stage(study, "download")):  # other children come and go while modules are imported
            assert study.poll() is None, study.stdout.read()
            time.sleep(0.1)
        study.terminate()
        assert study.stdout.read().endswith("Stopped.\n") and study.wait() == 1
    assert psutil.wait_procs([stage], timeout=5)[1] == []
    assert not list((pipeline / compare.COPIES).iterdir())


def answers(labels: np.ndarray, right: slice) -> np.ndarray:
    """Probabilities that are right about some photos."""
    wrong = np.eye(2)[1 - labels] * 0.8 + 0.1
    wrong[right] = (np.eye(2)[labels] * 0.8 + 0.1)[right]
    return wrong


def test_runs_are_pooled_photo_by_photo():
    labels = np.array([0, 1, 0, 0])
    runs = [{"labels": labels, "top": answers(labels, right)} for right in (slice(0, 0), slice(0, 2), slice(0, 4))]
    scores = compare.scores(runs, "top")
    assert (scores["n"], scores["accuracy"], scores["runs"], scores["std"]) == (12, 0.5, [0, 0.5, 1], 0.5)
    assert scores["interval"] == pytest.approx(metrics.wilson(6, 12), abs=1e-4)
    assert scores["balanced_accuracy"] == pytest.approx((4 / 9 + 2 / 3) / 2, abs=1e-4)
    assert scores["log_loss"] == pytest.approx(-(np.log(0.9) + np.log(0.1)) / 2, abs=1e-4)


def test_rows_are_judged_by_validation_photos_against_the_first(tmp_path):
    listed, photos = tmp_path / "rows.yaml", {"labels": np.array([0, 1, 0, 0]), "photos": np.arange(4)}
    listed.write_text("no hidden layer: top.units=0\n")
    plan = compare.planned(SimpleNamespace(given=["seed=2"], recipe=None, folds=None, seeds=None, rows=listed))
    assert (plan.rows, plan.changes) == ({"default": [], "no hidden layer": ["top.units=0"]}, ["seed=2"])
    assert (plan.runs, plan.measured, plan.splits) == ([[]], ["top", "finetune"], ("validation",)), "test photos have no part in it"
    first, row = ({"validation": [photos | {"top": answers(photos["labels"], slice(0, right))}]} for right in (1, 3))
    assert compare.summary(first, ["top"], None)["gains"] == {}
    gain = compare.summary(row, ["top"], first)["gains"]["top, on the first row"]["validation"]
    assert (gain["won"], gain["lost"], gain["difference"]) == (2, 0, 0.5)


def test_what_answers_win_on_others_is_counted_photo_by_photo():
    labels = np.array([0, 1] * 50)
    two, three = answers(labels, slice(0, 60)), answers(labels, slice(5, 80))
    gain = compare.gain([(labels, three, two)])
    assert (gain["won"], gain["lost"], gain["difference"], gain["std"]) == (20, 5, 0.15, None)
    assert gain["p"] == pytest.approx(metrics.mcnemar(20, 5), rel=0.05)
    assert gain["interval"] == pytest.approx([0.15 - 0.0936, 0.15 + 0.0936], abs=1e-3)
    assert compare.gain([(labels, three, two), (labels, two, two)])["std"] == pytest.approx(0.15 / 2**0.5, abs=1e-4)


def scores(accuracy: float, n: int, loss: float) -> dict:
    return {split: metrics.with_interval({"n": n, "accuracy": accuracy, "log_loss": loss}) for split in ("validation", "test")}


def test_few_photos_and_a_level_that_wins_nothing_are_said_in_words():
    nothing, few = levels.remarks({"top": scores(0.8, 60, 0.3), "finetune": scores(0.9, 60, 0.3)})
    assert nothing.startswith("Fine-tuning won nothing") and "level 2's validation accuracy is 0.20 wide" in few
    assert "make sets" in few
    assert levels.remarks({"top": scores(0.9, 1000, 0.3), "finetune": scores(0.9, 1000, 0.2)}) == []


def test_a_command_is_timed_line_by_line_and_its_failure_is_told(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("import time; print('a'); time.sleep(0.5); print('b')")
    ran = measure.run("module", folder=tmp_path)
    assert [line for _, line in ran.lines] == ["a", "b"] and ran.seconds > 0.5
    module.write_text("import sys; print('printed'); sys.exit('wrong')")
    with pytest.raises(UserError, match="printed\nwrong\n`module` failed"):
        measure.run("module", folder=tmp_path)


def inflicted(monkeypatch, tmp_path, **kinds) -> list[ground.Kind]:
    """Kinds of faults, after they have been inflicted where no time is left."""
    made = [ground.Kind(name, "kill", inflict) for name, inflict in kinds.items()]
    monkeypatch.setattr(ground.Place, "__init__", lambda self, folder: setattr(self, "folder", folder))
    faults.inflict(made, [ground.Place(tmp_path / str(number)) for number in range(2)], time.monotonic(), 1)
    return made


def test_every_kind_of_fault_is_tried_once_and_what_was_not_is_said(monkeypatch, tmp_path):
    drawn = []

    def survived(place, rng: random.Random):
        drawn.append(rng.random())
        assert not list(place.folder.iterdir()), "nothing is left of another fault"
        (place.folder / "traces").touch()
        yield ground.Tried("somewhere", None, 3)

    def lost(place, rng):
        yield ground.Tried("there", "other hashes", 2)

    def spoilt(place, rng):
        raise UserError("the ground is not clean: a.part")
        yield

    def lacking(place, rng):
        raise ground.Lacking("strace is not installed")
        yield

    def late(place, rng):
        if len(drawn) > 100:
            yield

    kinds = inflicted(monkeypatch, tmp_path, survived=survived, lost=lost, spoilt=spoilt, lacking=lacking, late=late)
    rows = {one.name: one.row() for one in kinds}
    assert (rows["survived"]["tried"], rows["survived"]["survived"]) == (3, 3) and drawn == [random.Random("1 survived 0").random()]
    assert (rows["lost"]["tried"], rows["lost"]["survived"], rows["lost"]["failures"]) == (2, 1, ["there: other hashes"])
    assert kinds[-1].begun == faults.ATTEMPTS and rows["late"]["tried"] == 0
    said = faults.missing({"kill": {"faults": list(rows.values())}})
    assert said == [
        "not survived: lost, there: other hashes",
        "not survived: spoilt, not inflicted: UserError: the ground is not clean: a.part",
        "not tried: lacking: strace is not installed",
        "not tried: late: it came too late each time",
    ]
    assert faults.missing({"kill": {"faults": [rows["survived"]]}}) == []
    assert "| lacking | 0 | 0 |" in faults.table({"kill": {"faults": list(rows.values())}})


@pytest.mark.process
def test_a_ground_that_is_not_clean_is_refused(tmp_path):
    folder = tmp_path / "first"
    (folder / "publish").mkdir(parents=True)
    for lock in ("dvc.lock", "publish/dvc.lock"):
        (folder / lock).write_text("schema: '2.0'\nstages: {}\n")
    first = ground.First.__new__(ground.First)
    first.folder, first.seconds = folder, {}
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "undisturbed"]):
        ground.Ground(folder).git(*words)
    first.files, place = ground.listing(folder), ground.Place(tmp_path / "place", first)
    place.folder.mkdir()
    assert place.ground().changed() == []
    (folder / "evaluate.csv.part").touch()
    with pytest.raises(UserError, match="the ground is not clean: evaluate.csv.part"):
        place.ground("other")


def test_the_table_of_faults_is_what_was_written():
    written = json.loads((ROOT / faults.FAULTS).read_text())
    assert faults.table(written) in (ROOT / "docs/faults.md").read_text()


def test_what_git_would_commit_after_a_fault_is_found(pipeline):
    own_ground = ground.Ground(pipeline)
    branch = own_ground.git("rev-parse", "--abbrev-ref", "HEAD").strip()
    own_ground.git("branch", "-f", "main", branch) if branch != "main" else None
    left = pipeline / "metrics/roc/small_cnn.csv.1-1.part"
    assert own_ground.wrong() is None
    left.touch()
    try:
        assert "metrics/roc/small_cnn.csv.1-1.part" in own_ground.wrong()
    finally:
        left.unlink()
    assert dataset.read_manifest(pipeline / "data/manifest.csv")
