"""The whole DAG through DVC: what it writes, that it repeats, and what reruns when something changes."""

import csv
import functools
import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import pytest
from conftest import ROOT, change, copied, curve, git, restore, run, settings, stages_run
from keras.src.legacy.saving import legacy_h5_format
from ruamel.yaml import YAML

from littledata.core import lockfile, measured, params, stage
from littledata.core.errors import UserError
from littledata.core.params import leaves
from littledata.export import assemble, quantize
from littledata.features import activations
from littledata.networks import backbone, keras, models, weights
from littledata.pictures import images
from littledata.predict import predict
from littledata.scores import levels, metrics, predicted
from littledata.splits import dataset
from littledata.training import batches

DECLARED: dict = {}  # every stage's part of its dvc.yaml
for path in params.PIPELINES:
    DECLARED |= YAML(typ="safe", pure=True).load(ROOT / path)["stages"]
STAGES = list(DECLARED)


@pytest.fixture
def stages_of(pipeline):
    """Change params of the clone and run stages on them, without DVC: which ones would run is another test's. The clone is
    put back afterwards."""

    def start(*names: str, **changes) -> None:
        change(pipeline, **changes)
        for name in names:
            run(pipeline, f"stages.{name}")

    yield start
    restore(pipeline)


def module_of(name: str) -> str:
    """The module that a stage's command runs."""
    return DECLARED[name]["cmd"].removeprefix("python -m ")


def test_the_run_cache_has_every_stage_and_a_second_run_runs_nothing(pipeline):
    yaml = YAML(typ="safe", pure=True)
    runs = {yaml.load(path)["cmd"] for path in (pipeline / ".dvc/cache/runs").glob("*/*/*")}
    assert {DECLARED[name]["cmd"] for name in STAGES if name != "card"} <= runs
    output = run(pipeline, "dvc", "repro", "--all-pipelines")
    assert stages_run(output) == [] and "up to date" in output
    assert [line.split()[0].rpartition(":")[2] for line in run(pipeline, "dvc", "stage", "list", "--all").splitlines()] == STAGES


def test_answers_are_averaged_over_five_crops_by_every_stage_and_by_the_classifier(stages_of, pipeline):
    small = {"image_size": 48, "finetune__epochs": 1}
    stages_of("activations", "bottleneck", "top", "finetune", "evaluate", activations__crops=5, finetune__lr=1e-05, **small)
    array, _ = activations.read(pipeline / activations.ACTIVATIONS, "train")
    assert array.shape == (48, 2, 3, 3, 512)
    below = backbone.below(backbone.load("VGG16", pipeline / "models/backbone.weights.h5"), ["block5"])
    tuned = keras.saving.load_model(pipeline / "models/finetune.keras", compile=False)
    for split in ("validation", "test"):
        array, photos = activations.read(pipeline / activations.ACTIVATIONS, split)
        assert array.shape == (len(photos), 5, 3, 3, 512)
        larger = [images.square((pipeline / photo.path).read_bytes(), 54) for photo in photos]
        crops = [[pixels[y : y + 48, x : x + 48] for y, x in ((3, 3), (0, 0), (0, 6), (6, 0), (6, 6))] for pixels in larger]
        expected = np.asarray(below(images.preprocess(np.concatenate(crops), "imagenet")))
        np.testing.assert_allclose(array.reshape(-1, 3, 3, 512), expected, atol=0.002 * expected.max())
        said = models.probabilities(tuned, expected).reshape(-1, 5, 2)
        assert np.ptp(said, axis=1).max() > 0.01
        files, _, probabilities, _ = predicted.read("finetune", split, pipeline / predicted.PREDICTIONS)
        assert files == [photo.file for photo in photos]
        np.testing.assert_allclose(probabilities, said.mean(1), atol=0.005)

    stages_of("publish.choose", "publish.export", "publish.quantize", "publish.card", export__level="finetune")
    classifier = predict.Classifier(pipeline / assemble.ONNX)
    assert classifier.size == 54
    read = np.stack([classifier.read((pipeline / photo.path).read_bytes()) for photo in photos])
    np.testing.assert_allclose(classifier.probabilities(read), said.mean(1), atol=1e-4)
    whole = keras.saving.load_model(pipeline / assemble.KERAS)
    np.testing.assert_allclose(np.asarray(whole(read)), said.mean(1), atol=1e-4)
    small = predict.Classifier(pipeline / quantize.INT8)
    np.testing.assert_allclose(small.probabilities(read), said.mean(1), atol=0.15)
    assert "squashed to 54 x 54 px, and looked at in 5 crops" in (pipeline / "REPORT.md").read_text()


def test_unfreezing_block4_moves_the_cut_and_trains_it(stages_of, pipeline):
    stages_of("activations", "finetune", finetune__unfreeze=["block4", "block5"], finetune__epochs=1, image_size=48)
    array, _ = activations.read(pipeline / activations.ACTIVATIONS, "train")
    assert array.shape == (48, 2, 6, 6, 256)
    tuned = keras.saving.load_model(pipeline / "models/finetune.keras", compile=False)
    frozen = backbone.load("VGG16", pipeline / "models/backbone.weights.h5", 64)
    assert moved(frozen, tuned) == {f"block{block}_conv{number}" for block in (4, 5) for number in (1, 2, 3)}


def moved(before: keras.Model, after: keras.Model) -> set[str]:
    """The names of the layers that have other weights than before."""
    pairs = [
        (layer, after.get_layer(layer.name)) for layer in before.layers if layer.name in {other.name for other in after.layers}
    ]
    return {was.name for was, now in pairs if was.weights and not np.array_equal(was.get_weights()[0], now.get_weights()[0])}


@pytest.fixture(scope="module")
def second(pipeline, tmp_path_factory) -> Path:
    """The pipeline in another folder, where its stages run once more, one after the other."""
    return copied(pipeline, tmp_path_factory.mktemp("second"))


@pytest.mark.parametrize("name", STAGES)
def test_every_declared_param_is_read_and_the_same_bytes_come_again(pipeline, second, train_zip, monkeypatch, name):
    """A param that a stage doesn't use would rerun it for nothing."""
    monkeypatch.chdir(second)
    monkeypatch.setenv("DOGS_VS_CATS_ARCHIVE", str(train_zip))
    keras.utils.clear_session()
    given, read = params.chosen(params.declared(name), params.load()), set[tuple[int, str]]()

    def noting(section, key):
        read.update((id(section), name) for name in (type(section).model_fields if key == "__dict__" else [key]))  # all at once
        return object.__getattribute__(section, key)

    def main(_) -> None:
        with mock.patch.object(params.Section, "__getattribute__", noting):
            importlib.import_module(module_of(name)).main(given)

    def is_read(key: str) -> bool:
        *parents, last = key.split(".")
        return (id(functools.reduce(getattr, parents, given)), last) in read

    shutil.rmtree(".cache/memo", ignore_errors=True)
    stage.run(name, main)
    # the archive's order has no seed, no parts mean nothing, Kaggle's archive no folder
    optional = {"subsample.seed", "subsample.part_is", "download.path"}
    if name == "bottleneck":  # reads these with `top.listed`; without it other ones give other activations, so it runs anyway
        optional |= {"image_size", "fit", "preprocessing"}
    assert {key for key, _ in leaves(given) if not is_read(key)} <= optional
    if name in levels.LEVELS:
        # In a process that has loaded all modules already, dropout begins with another random number. That trainings give the
        # same bytes in processes of their own is test_training.py's.
        restore(second)
    for out in lockfile.paths(DECLARED[name], "outs", "metrics", "plots"):
        files = [path.relative_to(second) for path in (second / out).rglob("*")] if (second / out).is_dir() else [Path(out)]
        assert files
        for file in files:
            assert (second / file).is_dir() or (second / file).read_bytes() == (pipeline / file).read_bytes(), file


def test_a_stage_started_by_hand_does_not_write_through_into_the_cache(pipeline):
    """Outputs are hard links into DVC's cache where the disk has no better: an open file there would spoil it. That holds too with
    the switch of docs/team.md, `push: false`, which makes an output a mapping in dvc.yaml, and nothing run again."""
    yaml = YAML()
    declared = yaml.load(pipeline / "dvc.yaml")
    declared["stages"]["bottleneck"]["outs"] = [{"data/bottleneck": {"push": False}}]
    yaml.dump(declared, pipeline / "dvc.yaml")
    try:
        assert stages_run(run(pipeline, "dvc", "repro", "bottleneck")) == []
        run(pipeline, "stages.bottleneck")
        assert "data/bottleneck" not in run(pipeline, "dvc", "status")
    finally:
        restore(pipeline)
    features, _ = activations.read(pipeline / activations.BOTTLENECK, "train")
    assert np.asarray(features).any()


def test_finetuning_moves_block5_and_only_block5(pipeline):
    tuned = keras.saving.load_model(pipeline / "models/finetune.keras", compile=False)
    pretrained = backbone.load("VGG16", pipeline / "models/backbone.weights.h5", 64)
    assert backbone.digest(pretrained) == backbone.VGG16_DIGEST
    assert moved(pretrained, tuned) == {f"block5_conv{number}" for number in (1, 2, 3)}
    assert not {layer.name for layer in tuned.layers} & {"block1_conv1", "block4_conv3"}


def test_keras_own_weights_file_gives_the_same_bytes_and_other_weights_are_refused(pipeline, tmp_path, monkeypatch):
    """Keras distributes one .h5 file: such a file of these tensors, read by `keras.applications`, and written again."""
    written = pipeline / weights.WEIGHTS
    distributed = tmp_path / weights.KERAS_FILE
    with h5py.File(distributed, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, backbone.load("VGG16", written, 64))
    model = keras.applications.VGG16(include_top=False, weights=str(distributed), input_shape=(None, None, 3))
    monkeypatch.chdir(tmp_path)
    weights.save(model, "VGG16", "Keras")
    assert (tmp_path / weights.WEIGHTS).read_bytes() == written.read_bytes()
    (tmp_path / weights.WEIGHTS).unlink()
    layer = model.get_layer("block5_conv3")
    layer.set_weights([layer.get_weights()[0] * 1.0001, layer.get_weights()[1]])
    with pytest.raises(UserError, match="have the digest .*, expected"):
        weights.save(model, "VGG16", "Keras")
    assert not (tmp_path / weights.WEIGHTS).exists()


@pytest.mark.parametrize("split", dataset.SPLITS)
def test_activations_and_the_rest_equal_the_whole_network(pipeline, split):
    """Photo by photo by name: the file's own pixels through the whole of VGG16 give the cached features."""
    whole = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))
    whole.load_weights(pipeline / "models/backbone.weights.h5")
    features, photos = activations.read(pipeline / activations.BOTTLENECK, split)
    for row in (0, len(photos) // 2, len(photos) - 1):
        pixels = images.resize(images.decode((pipeline / "data/photos" / photos[row].file).read_bytes(), 64), 64)
        expected = whole.predict_on_batch(keras.applications.vgg16.preprocess_input(pixels[None].astype("float32")))[0]
        np.testing.assert_allclose(features[row, 0].astype("float32"), expected, atol=0.02 * expected.max())


def test_augmented_views_differ_and_belong_to_their_photo(pipeline):
    given = settings(pipeline)
    frozen = backbone.below(backbone.load("VGG16", pipeline / "models/backbone.weights.h5"), ["block5"])
    array, photos = activations.read(pipeline / activations.ACTIVATIONS, "train")
    for row in (0, 30):
        photo = photos[row]
        plain = images.resize(images.decode((pipeline / "data/photos" / photo.file).read_bytes(), 64), 64)
        rng = images.random_numbers(given["seed"], 1, photo.sha256)
        view = images.augment(images.padded(plain), 64, given["activations"]["augmentation"], rng)
        assert not np.array_equal(view, plain)
        expected = frozen.predict_on_batch(images.preprocess(view[None], "imagenet"))[0]
        np.testing.assert_allclose(array[row, 1].astype("float32"), expected, atol=0.02 * expected.max())


def test_mirroring_turns_other_halves_of_the_photos_in_every_epoch(pipeline):
    def epochs(mirror):
        found = batches.cached(pipeline / activations.ACTIVATIONS, 48, seed=1, mirror=mirror)
        for epoch in range(1, 5):  # two views: epochs 1 and 3 see the same one of each photo
            found.start(epoch)
            yield found.order.argsort(), *found[0][:2]

    turned = []
    for (by_photo, plain, labels), (_, mirrored, same_labels) in zip(epochs(False), epochs(True)):
        assert np.array_equal(labels, same_labels)
        is_turned = np.array([not np.array_equal(a, b) for a, b in zip(plain, mirrored)])
        assert np.array_equal(mirrored[is_turned], plain[is_turned][:, :, ::-1])
        assert 12 < is_turned.sum() < 36
        turned.append(is_turned[by_photo])
    assert not np.array_equal(turned[0], turned[2])


def test_an_epoch_has_every_photo_whatever_looks_part_it(pipeline):
    found = batches.cached(pipeline / activations.ACTIVATIONS, 10, seed=1, look=20)
    other = batches.cached(pipeline / activations.ACTIVATIONS, 10, seed=2, look=20)
    assert (found.looks, found.steps) == (2, 5)
    for epoch in 0, 1:
        rows = []
        for look in range(2):
            found.start(2 * epoch + look)
            assert [len(labels) for _, labels, _ in (found[number] for number in range(len(found)))] == [10] * (2 + look)
            rows.append(found.order[10 * found.first : 10 * found.end])
        assert len(set(np.concatenate(rows))) == 48 and len(np.concatenate(rows)) == 50
        assert found.epoch == epoch + 1
    other.start(2)
    assert not np.array_equal(other.order, found.order)


def test_a_part_of_an_epoch_stands_in_the_curve(stages_of, pipeline):
    stages_of("finetune", finetune__epochs=1, finetune__look=16)
    steps = [step for step, _ in curve(pipeline, "finetune", "val_accuracy")]
    assert steps == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-5)


def test_views_are_counted_from_the_plain_one(pipeline):
    folder = pipeline / activations.ACTIVATIONS
    array, _ = activations.read(folder, "train")
    for views, of_the_second in ((1, 0), (2, 1), (None, 1)):
        found = batches.cached(folder, 48, seed=1, views=views)
        batch = found[0][0][found.order.argsort()]
        assert np.array_equal(batch[0], array[0, 0]) and np.array_equal(batch[1], array[1, of_the_second])


def test_what_a_stage_took_is_found_by_its_lock_entry_and_is_in_neither_git_nor_metrics(pipeline):
    for name, entry in lockfile.stages(*(pipeline / path for path in lockfile.LOCKS)).items():
        took = measured.of(name, entry, pipeline)
        assert took["seconds"] > 0 or name == "download"  # a fork has loaded what takes longer than its work
        assert 20 < took["peak_memory_mb"] < 4000
        other = entry | {"deps": [file | {"md5": 32 * "0"} for file in entry["deps"]]}
        assert measured.of(name, other, pipeline) is None, "of other photos or code nothing was measured"
    assert "seconds" not in (pipeline / "dvc.lock").read_text()
    shown = json.loads(run(pipeline, "dvc", "metrics", "show", "--json"))[""]["data"]
    assert list(shown) == ["metrics/metrics.json"]
    assert not git(pipeline, "ls-files", ".cache")


def test_the_table_says_where_nothing_was_measured(pipeline):
    folder = pipeline / measured.MEASURED
    aside = pipeline / measured._file("finetune", lockfile.ins(lockfile.stages(pipeline / "dvc.lock")["finetune"]))
    assert re.search(r"^time: [\d.]+ min, all stages as last computed$", run(pipeline, "tools.table"), re.MULTILINE)
    try:
        aside.rename(pipeline / "aside")
        assert "as last computed; not measured here: finetune\n" in run(pipeline, "tools.table")
        folder.rename(pipeline / "all")
        assert run(pipeline, "tools.table").endswith("\ntime: not measured here\n")
    finally:
        if not folder.exists():
            (pipeline / "all").rename(folder)
        (pipeline / "aside").rename(aside)


def test_a_stage_whose_seconds_cannot_be_noted_is_not_lost(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    monkeypatch.setattr(measured, "MEASURED", Path("README.md/measured"))
    measured.keep("top", lockfile.ins(lockfile.stages(Path("dvc.lock"))["top"]), 1.0, 100)


def test_metrics_and_plots_come_from_git_alone(pipeline, tmp_path):
    subprocess.run(["git", "clone", "-q", str(pipeline), str(tmp_path / "clone")], check=True)
    clone = tmp_path / "clone"
    shown = json.loads(run(clone, "dvc", "metrics", "show", "--json"))[""]["data"]
    assert 0 <= shown["metrics/metrics.json"]["data"]["finetune"]["test"] <= 1
    run(clone, "dvc", "plots", "show", "--out", "page")
    page = (clone / "page/index.html").read_text()
    for path in "metrics/dvc.yaml", "publish/dvc.yaml":
        for plot in YAML(typ="safe", pure=True).load(ROOT / path)["plots"]:
            # Pictures of photographs are not in git.
            assert isinstance(plot, str) or next(iter(plot)) in page


def test_the_rest_is_scored_and_nothing_else_changes(stages_of, pipeline):
    before = metrics.read(pipeline / metrics.SCORES)
    stages_of("subsample", "activations", "bottleneck", "evaluate", subsample__remaining=True)
    scores = metrics.read(pipeline / metrics.SCORES)
    rest = {level: splits.pop("rest") for level, splits in scores.items()}
    assert scores == before and all(0 < of_level["accuracy_low"] < of_level["accuracy_high"] for of_level in rest.values())
    with open(pipeline / "data/predictions.csv", newline="") as file:
        assert sum(row["file"].startswith("rest/") for row in csv.DictReader(file)) == 3 * 2 * (100 - 42)
