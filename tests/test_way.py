"""The whole way of a user's photos to a classifier, in one process: each stage's `main` is called as a function, on 60 small photos."""

import contextlib
import csv
import importlib
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TINY, change, own
from PIL import Image
from pyarrow.dataset import dataset as dataset_of
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from littledata.core import files, params
from littledata.export import assemble
from littledata.features import activations
from littledata.photos import fetch
from littledata.predict import predict
from littledata.scores import levels, metrics, predicted
from littledata.splits import dataset

pytestmark = pytest.mark.process
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
            declared = params.declared(name.rpartition(".")[2])
            importlib.import_module(f"stages.{name}").main(params.chosen(declared, params.load()))
    return folder


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


def test_the_file_that_is_handed_out_answers_as_its_level_did(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    level, _ = levels.handed_out()
    names, _, probabilities, classes = predicted.read(level, "test")
    expected = {name: pytest.approx(dict(zip(classes, row)), abs=1e-4) for name, row in zip(names, probabilities)}
    for words in ["--format", "json"], ["--to", "predictions"]:
        monkeypatch.setattr(sys, "argv", ["predict", "data/photos/test", "--model", str(assemble.ONNX), *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        with contextlib.suppress(SystemExit):
            predict.main()
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {answer["file"].removeprefix("data/photos/"): answer["probabilities"] for answer in answers} == expected
    rows = dataset_of("predictions").to_table().to_pylist()
    assert {f"test/{row['file']}": {kind: row[f"probability_{kind}"] for kind in classes} for row in rows} == expected


def test_the_card_and_the_pictures_are_of_this_run(project):
    level, _ = levels.handed_out(project / levels.CHOICE)
    text = (project / "REPORT.md").read_text()
    assert f"{metrics.read(project / metrics.SCORES)[level]['test']['accuracy']:.3f}" in text and "EfficientNetLite0" in text
    for name in "mistakes", "gradcam", "augmentation", "duplicates", "skipped":
        with Image.open(project / f"data/gallery/{name}.png") as picture:
            assert min(picture.size) > 50
