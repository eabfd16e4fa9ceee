"""The whole way of a user's photos to a classifier, in one process: each stage's `main` is called as a function, on 60 small photos."""

import contextlib
import csv
import importlib
import io
import json
import shutil
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TINY, change, own
from PIL import Image
from pyarrow.dataset import dataset as dataset_of
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from littledata.core import files, params
from littledata.export import export
from littledata.features import activations
from littledata.photos import fetch
from littledata.predict import predict, submit
from littledata.scores import levels, metrics, predicted
from littledata.splits import dataset

STAGES = ("download", "subsample", "pretrained", "small_cnn", "activations", "bottleneck", "top", "finetune", "evaluate")
PUBLISH = ("choose", "export", "quantize", "diagnose", "duplicates", "gallery", "card")
LIGHT = dict(params.leaves(params.read(ROOT / "recipes/light.yaml")))
SMALL = {"image_size": 64, "small_cnn.image_size": 32, "small_cnn.epochs": 1, "finetune.epochs": 1, "top.epochs": 2}


@pytest.fixture(scope="module")
def project(photos, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("way")
    for name in "params.yaml", "dvc.yaml", "publish/dvc.yaml":
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / ".cache").mkdir()
    for name in "stages", "littledata":  # what a training may go on from is known by its code
        (folder / name).symlink_to(ROOT / name)
    (folder / fetch.CACHE).symlink_to(ROOT / fetch.CACHE)
    shares = {"subsample.train": 0.6, "subsample.validation": 0.2, "subsample.test": 0.2}
    source = {"download.source": "path", "download.path": str(own(folder / "own", photos)), "download.sha256": None}
    change(folder, **TINY | LIGHT | SMALL | shares | source)
    with contextlib.chdir(folder):
        for name in (*STAGES, *(f"publish.{name}" for name in PUBLISH)):
            importlib.import_module(f"stages.{name}").main(params.for_stage(name.rpartition(".")[2]))
    return folder


@pytest.fixture
def call(project, monkeypatch, capsys):
    """Call a command's `main` in the project with its classifier; returns the lines that it printed."""

    def started(module: types.ModuleType, *words: str, status: int = 0) -> list[str]:
        monkeypatch.setattr(sys, "argv", [module.__name__, *words, "--model", str(export.ONNX)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        capsys.readouterr()
        try:
            module.main()
        except SystemExit as end:
            assert (end.code or 0) == status
        return capsys.readouterr().out.splitlines()

    monkeypatch.chdir(project)
    return started


def test_labels_and_names_are_aligned_through_every_array(project):
    manifest = dataset.read_manifest(project / dataset.MANIFEST)
    assert [photo.split for photo in manifest] == ["train"] * 36 + ["validation"] * 12 + ["test"] * 12
    digests = {files.sha256_of(path): path.parent.name for path in files.of(project / "own")}
    for photo in manifest:
        split, kind, _ = photo.file.split("/")
        assert (split, kind) == (photo.split, photo.kind) and digests[photo.sha256] == kind
        assert files.sha256_of(project / "data/photos" / photo.file) == photo.sha256
    for split in dataset.SPLITS:
        for folder in (activations.ACTIVATIONS, activations.BOTTLENECK):
            _, photos = activations.read(project / folder, split)
            assert photos == dataset.of_split(manifest, split)
    with open(project / predicted.PREDICTIONS, newline="") as file:
        rows = list(csv.DictReader(file))
    for level in levels.LEVELS:
        named = [(row["file"], row["class"]) for row in rows if row["level"] == level]
        assert named == [(photo.file, photo.kind) for photo in manifest if photo.split != "train"]


def test_metrics_are_those_of_the_predictions(project):
    for level, splits in metrics.read(project / metrics.SCORES).items():
        for split, scores in splits.items():
            _, labels, probabilities, classes = predicted.read(level, split, project / predicted.PREDICTIONS)
            dog = probabilities[:, classes.index("dog")]
            assert scores["n"] == 12 == len(labels)
            assert scores["accuracy"] == pytest.approx(accuracy_score(labels, dog > 0.5), abs=1e-6)
            assert scores["roc_auc"] == pytest.approx(roc_auc_score(labels, dog), abs=1e-3)
            assert scores["log_loss"] == pytest.approx(log_loss(labels, np.clip(dog, 1e-7, 1 - 1e-7)), abs=1e-3)
            assert scores["accuracy_low"] < scores["accuracy"] < scores["accuracy_high"] or scores["accuracy"] in (0, 1)


def test_the_file_that_is_handed_out_answers_as_its_level_did(project, call):
    level, _ = levels.handed_out(project / levels.CHOICE)
    names, _, probabilities, classes = predicted.read(level, "test", project / predicted.PREDICTIONS)
    expected = {f"data/photos/{name}": dict(zip(classes, row)) for name, row in zip(names, probabilities)}
    answers = [json.loads(line) for line in call(predict, "data/photos/test", "--format", "json")]
    assert {answer["file"]: answer["probabilities"] for answer in answers} == {
        name: pytest.approx(row, abs=1e-4) for name, row in expected.items()
    }
    header, *rows = csv.reader(call(predict, "data/photos/test", "--format", "csv"))
    assert header == ["file", "class", "probability_cat", "probability_dog"] and len(rows) == 12
    assert [[row[0], row[1]] for row in rows] == [[answer["file"], answer["class"]] for answer in answers]
    assert [line.split()[::2] for line in call(predict, "data/photos/test")] == [[row[1], row[0]] for row in rows]

    call(predict, "data/photos/test", "--to", "predictions")
    table = dataset_of("predictions").to_table().to_pydict()
    assert {name: pytest.approx(row["dog"], abs=1e-4) for name, row in expected.items()} == dict(
        zip((f"data/photos/test/{name}" for name in table["file"]), table["probability_dog"])
    )


def test_a_submission_has_the_samples_ids_and_clipped_probabilities(project, call):
    with zipfile.ZipFile(project / "test1.zip", "w") as archive:
        for number, path in enumerate(files.of(project / "data/photos/test/cat"), 1):
            archive.write(path, f"test1/{number}.jpg")
    (project / "sample.csv").write_text("id,label\n" + "".join(f"{number},0.5\n" for number in (3, 1, 2, 4, 5, 6)))
    call(submit, "test1.zip", "--sample", "sample.csv", "--clip", "0.45", "--out", "submission.csv")
    header, *rows = csv.reader((project / "submission.csv").read_text().splitlines())
    assert header == ["id", "label"] and [row[0] for row in rows] == ["3", "1", "2", "4", "5", "6"]
    assert all(0.45 <= float(label) <= 0.55 for _, label in rows)


def test_the_card_and_the_pictures_are_of_this_run(project):
    level, _ = levels.handed_out(project / levels.CHOICE)
    text = (project / "REPORT.md").read_text()
    assert f"{metrics.read(project / metrics.SCORES)[level]['test']['accuracy']:.3f}" in text and "EfficientNetLite0" in text
    for name in "mistakes", "gradcam", "augmentation", "duplicates", "skipped":
        with Image.open(project / f"data/gallery/{name}.png") as picture:
            assert min(picture.size) > 50
