"""What happens in a training between its epochs: curves, early stopping, and going on after an interruption."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, change, curve, offline, restore, run, settings

from littledata import networks
from littledata.core import params
from littledata.features import activations
from littledata.networks import keras, models
from littledata.scores import metrics, temperature
from littledata.splits import dataset
from littledata.training import batches, checkpoint, loop
from littledata.training.checkpoint import Best
from littledata.training.optimizer import schedule

LEVELS = ("small_cnn", "top", "finetune")


def validation(folder: Path, level: str) -> tuple[np.ndarray, np.ndarray]:
    """The validation photos' labels, and what the saved model of level 2 or 3 makes of them."""
    array, photos = activations.read(folder / (activations.BOTTLENECK if level == "top" else activations.ACTIVATIONS), "validation")
    model = keras.saving.load_model(folder / f"models/{level}.keras", compile=False)
    return dataset.labels(photos, ["cat", "dog"]), models.probabilities(model, array[:, 0].astype(np.float32))


@pytest.fixture
def restored(pipeline) -> Iterator[Path]:
    """The pipeline, put back as it was when the test has ended."""
    yield pipeline
    restore(pipeline)


@pytest.mark.parametrize("level", ["top", "finetune"])
def test_validation_photos_are_predicted_with_the_weights_that_are_saved(pipeline, level):
    labels, probabilities = validation(pipeline, level)
    kept = np.load(pipeline / f"data/validation/{level}.npy")
    np.testing.assert_allclose(kept, probabilities, atol=1e-5)
    epochs = settings(pipeline)[level]["epochs"]
    assert curve(pipeline, level, "val_loss")[-1] == (epochs, pytest.approx(metrics.scores(labels, kept)["log_loss"], abs=0.02))
    assert curve(pipeline, level, "val_accuracy")[-1] == (epochs, pytest.approx(np.mean(kept.argmax(1) == labels), abs=1e-6))


def test_a_gain_is_more_than_its_standard_error_and_small_ones_add_up():
    noise = np.random.default_rng(1).normal(0, 0.1, (7, 400))
    best = Best(patience=2)
    seen = []
    for look, level in enumerate((1, 0.8, 0.799, 0.7, 0.701, 0.9)):
        assert not best.enough
        best.update([look], np.empty(0), level + noise[look])
        seen.append((best.weights[0], best.since))
    assert seen == [(0, 0), (1, 0), (2, 1), (3, 0), (4, 1), (4, 2)] and best.enough
    steps = Best(patience=9)
    for look in range(6):
        steps.update([look], np.empty(0), 1 - 0.004 * look + noise[look])
    assert steps.since < 5, "five small steps are a gain"
    last = Best(patience=0)
    for look, level in enumerate((1, 2)):
        last.update([look], np.empty(0), level + noise[look])
    assert last.weights == [1] and not last.enough


def test_fine_tuning_that_wins_nothing_ends_as_level_2(restored):
    change(restored, finetune__lr=0.05, finetune__epochs=8, finetune__patience=40)
    run(restored, "stages.finetune")
    looks = curve(restored, "finetune", "val_loss")
    assert looks[0][0] == 0 and len(looks) == 3, "two looks that are far worse"
    two, three = (keras.saving.load_model(restored / f"models/{level}.keras", compile=False) for level in ("top", "finetune"))
    for weights, tuned in zip(two.get_layer("hidden").get_weights(), three.get_layer("hidden").get_weights(), strict=True):
        assert np.array_equal(weights, tuned)


def test_curves_have_no_times_and_a_fresh_run_has_none_of_an_earlier_ones_epochs(restored):
    for level in LEVELS:
        folder = restored / f"metrics/curves/{level}"
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*sv"))
        assert files == [f"plots/metrics/{name}.tsv" for name in ("accuracy", "loss", "val_accuracy", "val_loss")]
        assert all("timestamp" not in (folder / file).read_text() for file in files)
    change(restored, top__epochs=2)
    run(restored, "stages.top")
    assert [step for step, _ in curve(restored, "top", "loss")] == [1, 2]


def test_a_training_that_diverges_stops_at_once_and_leaves_nothing(restored):
    change(restored, finetune__lr=1000, finetune__epochs=3, finetune__schedule="constant", finetune__optimizer="sgd")
    output = run(restored, "stages.finetune", check=False)
    words = r"finetune: the loss is no number any more after epoch \d: finetune.lr 1000 is too high. Lower it."
    assert re.fullmatch(words, output.splitlines()[-1])
    for name in "models/finetune.keras", "data/validation/finetune.npy", "metrics/curves/finetune":
        assert not (restored / name).exists()
    assert not list((restored / ".cache/training").glob("*.npz"))


@pytest.mark.parametrize("values", [[np.nan, 1], [np.inf], -np.inf])
def test_neither_nan_nor_infinity_is_a_loss(values):
    with pytest.raises(loop.Diverged):
        loop.check(np.array(values))


def outputs(folder: Path, level: str) -> dict[str, bytes]:
    files = [folder / f"models/{level}.keras", folder / f"data/validation/{level}.npy"]
    files += sorted((folder / f"metrics/curves/{level}/plots/metrics").iterdir())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def killed(folder: Path, level: str) -> None:
    """Start a level's training and kill it once one of its epochs has left a checkpoint."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([sys.executable, "-m", f"stages.{level}"], cwd=folder, env=offline(), **streams) as process:
        while process.poll() is None and not list((folder / ".cache/training").glob(f"{level}-*.npz")):
            time.sleep(0.02)
        assert process.poll() is None, f"it ended before it was killed:\n{process.stdout.read().decode()}"
        process.kill()


@pytest.mark.parametrize("level, changes", [("top", {"top__epochs": 60, "top__l2": 0.001}), ("finetune", {})])
def test_a_training_killed_in_the_middle_goes_on_and_ends_with_the_same_bytes(restored, level, changes):
    change(restored, **changes)
    if changes:  # else it is the pipeline's own
        run(restored, f"stages.{level}", apart=True)
    expected, checkpoints = outputs(restored, level), restored / ".cache/training"
    assert not list(checkpoints.glob("*.npz"))
    killed(restored, level)
    output = run(restored, f"stages.{level}", apart=True)
    assert "resumed after epoch " in output and "resumed after epoch 0" not in output
    assert outputs(restored, level) == expected and not list(checkpoints.glob("*.npz"))


def test_a_checkpoint_is_never_taken_for_that_of_another_training(restored, monkeypatch):
    monkeypatch.chdir(restored)
    same = checkpoint.identity("top")
    assert checkpoint.identity("top") == same != checkpoint.identity("small_cnn")
    change(restored, small_cnn__lr=0.5)
    assert checkpoint.identity("top") == same
    change(restored, top__lr=0.5)
    assert checkpoint.identity("top") != same
    restore(restored)
    with open("littledata/networks/models.py", "a") as module:
        module.write("\n")
    assert checkpoint.identity("top") != same
    restore(restored)
    run(restored, "stages.bottleneck")  # writes the same again
    assert checkpoint.identity("top") == same
    with open(activations.BOTTLENECK / "train.npy", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert checkpoint.identity("top") != same


def settings_of(**changes) -> params.Training:
    """Level 2's params, with others."""
    return params.load(ROOT / "params.yaml").top.model_copy(update=changes)


def test_the_rate_warms_up_and_falls():
    for kind, later in ("cosine", 0.005), ("constant", 0.01):
        rates = schedule(settings_of(lr=0.01, schedule=kind), 100, warmup=10)
        assert [float(rates(step)) for step in (0, 5, 10, 55)] == pytest.approx([0, 0.005, 0.01, later])
    assert float(schedule(settings_of(schedule="cosine"), 100)(100)) == pytest.approx(0, abs=1e-9)


def test_the_loop_is_keras_own_with_a_moving_average_too_and_keeps_the_best_look(restored, monkeypatch):
    """An epoch of `fit` at a time gives the weights of one `fit` over all epochs, which ends with the average."""
    monkeypatch.chdir(restored)
    top, photos, labels = settings_of(epochs=3), *batches.validation(activations.BOTTLENECK)

    def start():
        networks.seed_everything(1)
        return models.top(photos.shape[2:], 2, top), batches.cached(activations.BOTTLENECK, top.batch_size, 1)

    for out in Path("models/top.keras"), activations.VALIDATION / "top.npy":
        out.unlink()  # as a stage does first: they are links, and other tests read what they lead to
    model, train = start()
    loop.fit("top", model, train, (photos, labels), top, ema=0.9)
    expected, train = start()
    loop.prepare(expected, train, top, ema=0.9)
    epochs, last = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: train.start(epoch)), []
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: last.append(expected.get_weights()[0]))
    expected.fit(train, epochs=3, shuffle=False, verbose=0, callbacks=[epochs, look])
    models.temper(expected, temperature.best(labels, models.predict(expected, photos)))
    saved = keras.saving.load_model("models/top.keras", compile=False)
    for got, weights in zip(saved.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(got, weights, rtol=1e-5, atol=1e-7)
    assert not np.allclose(last[-1], expected.get_weights()[0], rtol=1e-3), "the average is not the last epoch's"
    _, probabilities = validation(restored, "top")
    np.testing.assert_allclose(np.load("data/validation/top.npy"), probabilities, atol=1e-5)

    top = settings_of(lr=0.01, epochs=30, schedule="constant")
    model, train = start()
    loop.fit("top", model, train, (photos, labels), top, patience=3)
    losses = [loss for _, loss in curve(restored, "top", "val_loss")]
    assert 4 <= len(losses) < 30
    _, probabilities = validation(restored, "top")
    kept = metrics.scores(labels, probabilities)["log_loss"]
    assert min(abs(loss - kept) for loss in losses) < 0.01 and kept < max(losses)
    np.testing.assert_allclose(np.load("data/validation/top.npy"), probabilities, atol=1e-5)


def test_both_ways_a_photo_and_its_mirror_image_get_the_same_answer(pipeline):
    model = keras.saving.load_model(pipeline / "models/small_cnn.keras", compile=False)
    pixels = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    said = models.probabilities(model, pixels)
    np.testing.assert_allclose(said, models.probabilities(model, pixels[:, :, ::-1]), atol=1e-6)
    assert np.ptp(said[:, 0]) > 0
