"""A recipe on sets of own photos, and what is said of them."""

import json
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from conftest import change, git, offline, own, restore, run

from littledata.core import params
from littledata.networks import backbone
from littledata.photos import listing
from littledata.scores import levels, metrics
from studies import bench, sets
from studies.faults.ground import of_stage
from tools import estimate, plan


def test_one_of_five_folds(pipeline, photos, tmp_path):
    folder, to = own(tmp_path / "mine", photos), tmp_path / "sets.json"
    output = run(pipeline, "studies.sets", str(folder), "finetune.epochs=1", "--folds", "2", "--to", str(to))
    assert output.startswith("Level 1 is left out.") and not list((pipeline / sets.COPIES).iterdir())
    found = json.loads(to.read_text())
    one = found["sets"]["mine"]
    assert one["params"]["finetune"]["epochs"] == 1 and (one["n"], one["folds"]) == (12, 1)
    assert one["photo_steps"] == [48], "36 photos in batches of 16"
    for level in sets.LEVELS:
        assert one[level]["accuracy"] == pytest.approx(np.mean(one[level]["of_folds"]), abs=1e-3)
        assert one[level]["accuracy_interval"][0] <= one[level]["accuracy"] <= one[level]["accuracy_interval"][1]
    gain = one["level 3 less level 2"]
    assert gain["difference"] == pytest.approx(one["finetune"]["accuracy"] - one["top"]["accuracy"], abs=2e-4)
    assert output.endswith(run(pipeline, "studies.sets", "--show", str(to)))
    assert "expected the keys" in run(pipeline, "studies.sets", str(folder), "finetune=1", check=False)
    assert "params.yaml has no finetun.lr" in run(
        pipeline, "studies.sets", str(folder), "--recipe", "light", "finetun.lr=1", check=False
    )


def test_sets_of_one_name_and_of_given_splits_are_each_measured_by_itself(pipeline, photos, tmp_path):
    cached = sorted(path.name for path in (pipeline / ".cache").iterdir())
    split = tmp_path / "one/mine.v1"
    for name, of_split in {"train": slice(0, 12), "test": slice(12, 15)}.items():
        own(split / name, {kind: of_kind[of_split] for kind, of_kind in photos.items()})
    own(tmp_path / "two/mine.v1", {kind: of_kind[:10] for kind, of_kind in photos.items()})
    to, quick = tmp_path / "sets.json", ["finetune.epochs=1", "top.epochs=1", "--to", str(tmp_path / "sets.json")]
    places = [f"{split}/train/..", str(tmp_path / "two/mine.v1")]
    to.write_text('{"sets": {"other": {"n": 7, "folds": 5}}}')
    output = run(pipeline, "studies.sets", *places, *quick, "--folds", "1", "1")
    assert "The folders' own splits are set aside" in output
    found = json.loads(to.read_text())["sets"]
    sizes = {name: (one["n"], one["folds"]) for name, one in found.items()}
    assert sizes == {"other": (7, 5), places[0]: (6, 1), places[1]: (4, 1)}, "what is there of other sets stays"
    assert [path.name for path in (pipeline / ".cache").iterdir() if path.name not in cached] in ([], ["sets"])
    assert not list((pipeline / sets.COPIES).iterdir())
    missing = run(pipeline, "studies.sets", places[1], str(tmp_path / "none"), *quick, check=False)
    assert f"There is no {tmp_path / 'none'}" in missing and "photos read" not in missing
    assert "a folder or a zip that is here" in run(pipeline, "studies.sets", "s3://team/photos", *quick, check=False)
    assert "seeds.json is no file that" in run(pipeline, "studies.sets", "--show", "studies/results/seeds.json", check=False)
    assert "invalid choice: 6" in run(pipeline, "studies.sets", places[1], *quick, "--folds", "6", check=False)


def test_a_stopped_study_leaves_no_stage_running(pipeline, photos, tmp_path):
    words = [sys.executable, "-m", "studies.sets", str(own(tmp_path / "mine", photos)), "--to", str(tmp_path / "sets.json")]
    with subprocess.Popen(words, cwd=pipeline, env=offline(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as study:
        while not (stage := of_stage(study, "download")):  # other children come and go while modules are imported
            assert study.poll() is None, study.stdout.read()
            time.sleep(0.1)
        study.terminate()
        assert study.stdout.read().endswith("Stopped.\n") and study.wait() == 1
    assert psutil.wait_procs([stage], timeout=5)[1] == []
    assert not list((pipeline / sets.COPIES).iterdir())


def test_folds_are_pooled_photo_by_photo():
    labels = np.array([0, 1, 0, 1])
    right, wrong = np.eye(2)[labels] * 0.8 + 0.1, np.eye(2)[1 - labels] * 0.8 + 0.1
    took = {"photo_steps": 32, "seconds": 1, "ended_where_it_began": True}
    parts = [{"labels": labels, "top": right, "finetune": wrong}, {"labels": labels, "top": right, "finetune": right}]
    found = sets.summary([{"validation": part, "test": part, **took} for part in parts])
    assert (found["n"], found["folds"], found["photo_steps"], found["ended_where_it_began"]) == (8, 2, [32, 32], 2)
    assert found["finetune"]["accuracy"] == 0.5 and found["finetune"]["of_folds"] == [0, 1] and found["top"]["accuracy"] == 1
    assert found["level 3 less level 2"]["lost"] == 4


def test_what_level_3_wins_is_counted_photo_by_photo():
    labels = np.array([0, 1] * 50)
    right, wrong = np.eye(2)[labels] * 0.8 + 0.1, np.eye(2)[1 - labels] * 0.8 + 0.1
    two, three = wrong.copy(), wrong.copy()
    two[:60], three[5:80] = right[:60], right[5:80]
    found = sets.difference(labels, {"top": two, "finetune": three})
    assert (found["won"], found["lost"], found["difference"]) == (20, 5, 0.15)
    assert found["p"] == pytest.approx(metrics.mcnemar(20, 5), rel=0.05)
    assert found["interval"] == pytest.approx([0.15 - 0.0936, 0.15 + 0.0936], abs=2e-3)


def test_a_way_to_choose_loses_what_the_better_level_had():
    labels = np.array([0, 1, 0, 1])
    sure, good, bad = np.eye(2)[labels] * 0.98 + 0.01, np.eye(2)[labels] * 0.2 + 0.4, np.eye(2)[1 - labels] * 0.2 + 0.4
    fold = {
        "validation": {"labels": labels, "top": good, "finetune": sure},
        "test": {"labels": labels, "top": good, "finetune": bad},
    }
    found = sets.regrets([fold, fold | {"test": {"labels": labels, "top": good, "finetune": good}}])
    assert found == {"log loss": 0.5, "accuracy, then log loss": 0.5, "always level 3": 0.5, "always level 2": 0}


def scores(accuracy: float, n: int, loss: float) -> dict:
    return {split: metrics.with_interval({"n": n, "accuracy": accuracy, "log_loss": loss}) for split in ("validation", "test")}


def test_few_photos_and_a_level_that_wins_nothing_are_said_in_words():
    nothing, few = levels.remarks({"top": scores(0.8, 60, 0.3), "finetune": scores(0.9, 60, 0.3)})
    assert nothing.startswith("Fine-tuning won nothing") and "level 2's validation accuracy is 0.20 wide" in few
    assert "make sets" in few
    assert levels.remarks({"top": scores(0.9, 1000, 0.3), "finetune": scores(0.9, 1000, 0.2)}) == []


@pytest.mark.parametrize(("name", "cut"), [("VGG16", "block5"), ("EfficientNetLite0", "block5a")])
def test_the_estimate_counts_as_keras_networks_do(name, cut):
    network = backbone.build(name, 224)
    parts = [bench.gflop(part(network, [cut]))[0] * 1e9 for part in (backbone.below, backbone.above)]
    settings = {"backbone": name, "image_size": 224, "finetune": {"unfreeze": [cut]}}
    assert estimate.halves(settings) == pytest.approx(parts, rel=2e-3)
    assert estimate.halves(settings | {"backbone": "ResNet50"}) is None


def test_what_has_not_changed_takes_no_time_and_an_earlier_stop_less(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)

    def seconds() -> tuple[float, float]:
        return estimate.seconds(params.load(), estimate.due(params.load()), (36, 24, 24), 84)

    assert "takes seconds" in estimate.words(params.load(), (36, 24, 24), 84)
    try:
        change(pipeline, finetune__dropout=0.1)
        tuned = seconds()
        change(pipeline, finetune__dropout=0.1, finetune__patience=16, finetune__epochs=50, finetune__look=16)
        patient = seconds()
        assert "level 3 stops when validation photos say so" in estimate.words(params.load(), (36, 24, 24), 84)
        change(pipeline, finetune__dropout=0.1, finetune__patience=0)
        assert "level 3" not in estimate.words(params.load(), (36, 24, 24), 84)
        change(pipeline, image_size=96)
        every = seconds()
    finally:
        restore(pipeline)
    assert 0 < tuned[0] < tuned[1] and patient[0] < patient[1] and patient[1] > tuned[1] and every[0] > patient[0]


def test_what_an_earlier_run_has_made_takes_no_time(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    try:
        change(pipeline, finetune__dropout=0.1)
        assert {"finetune", "evaluate"} <= estimate.due(params.load())
        run(pipeline, "dvc", "repro", "finetune")
        git(pipeline, "restore", "params.yaml")
        assert "finetune" not in estimate.due(params.load()), "DVC's run cache has it"
        change(pipeline, finetune__dropout=0.2)
        assert "finetune" in estimate.due(params.load())
    finally:
        restore(pipeline)


def test_splits_that_folders_give_are_counted_as_they_are(photos, tmp_path):
    for split, of_split in {"train": slice(0, 15), "test": slice(15, 20)}.items():
        own(tmp_path / split, {kind: of_kind[of_split] for kind, of_kind in photos.items()})
    with listing.of_archive(tmp_path) as listed:
        of = {"train": 0.75, "validation": 0.25, "test": 0.2, "folds": 0, "folded": "validation"}
        assert plan.split(listed, of) == (22, 8, 10), "30 to learn from, and a quarter of each class' 15 validates"
        assert sum(plan.split(listed, of | {"folds": 5, "folded": "test", **sets.PARTS})) == 40
