"""What happens in a training between its epochs: curves, early stopping, and going on after an interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import change, curve, offline, restore, run

from stages.lib import activations, dataset, metrics, models, training

LEVELS = ("small_cnn", "top", "finetune")


def validation(folder: Path, level: str) -> tuple[np.ndarray, np.ndarray]:
    """The validation photos' labels, and what the saved model of level 2 or 3 makes of them."""
    array, photos = activations.read(folder / (activations.BOTTLENECK if level == "top" else activations.ACTIVATIONS), "validation")
    model = keras.saving.load_model(folder / f"models/{level}.keras", compile=False)
    return dataset.labels(photos, ["cat", "dog"]), models.probabilities(model, array[:, 0].astype(np.float32))


@pytest.mark.parametrize("level", ["top", "finetune"])
def test_validation_photos_are_predicted_with_the_weights_that_are_saved(pipeline, level):
    labels, probabilities = validation(pipeline, level)
    kept = np.load(pipeline / f"data/validation/{level}.npy")
    np.testing.assert_allclose(kept, probabilities, atol=1e-5)
    epochs = {"top": 4, "finetune": 2}[level]
    assert curve(pipeline, level, "val_loss")[-1] == (epochs, pytest.approx(metrics.scores(labels, kept)["log_loss"], abs=1e-5))
    assert curve(pipeline, level, "val_accuracy")[-1] == (epochs, pytest.approx(np.mean(kept.argmax(1) == labels), abs=1e-6))


def test_patience_keeps_the_weights_of_the_best_epoch(pipeline):
    change(pipeline, top__lr=0.05, top__epochs=30, top__patience=3, top__schedule="constant")
    try:
        run(pipeline, "stages.top")
        losses = [loss for _, loss in curve(pipeline, "top", "val_loss")]
        best = losses.index(min(losses))
        assert len(losses) == best + 1 + 3 < 30
        labels, probabilities = validation(pipeline, "top")
        assert metrics.scores(labels, probabilities)["log_loss"] == pytest.approx(losses[best], abs=1e-4)
        np.testing.assert_allclose(np.load(pipeline / "data/validation/top.npy"), probabilities, atol=1e-5)
    finally:
        restore(pipeline)


def test_curves_have_no_times_and_a_fresh_run_has_none_of_an_earlier_ones_epochs(pipeline):
    for level in LEVELS:
        folder = pipeline / f"metrics/curves/{level}"
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*sv"))
        assert files == [f"plots/metrics/{name}.tsv" for name in ("accuracy", "loss", "val_accuracy", "val_loss")]
        assert all("timestamp" not in (folder / file).read_text() for file in files)
    change(pipeline, top__epochs=2)
    try:
        run(pipeline, "stages.top")
        assert [step for step, _ in curve(pipeline, "top", "loss")] == [1, 2]
    finally:
        restore(pipeline)


def outputs(folder: Path, level: str) -> dict[str, bytes]:
    files = [folder / f"models/{level}.keras", folder / f"data/validation/{level}.npy"]
    files += sorted((folder / f"metrics/curves/{level}/plots/metrics").iterdir())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def killed(folder: Path, level: str, after: int) -> None:
    """Start `dvc repro` and kill it and all that it started once so many epochs of a level have left a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", level], cwd=folder, env=offline(), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        while process.poll() is None:
            (found,) = list((folder / ".cache/training").glob(f"{level}-*.npz")) or [None]
            if found:
                with np.load(found) as saved:
                    if len(json.loads(str(saved["history"]))) >= after:
                        break
            time.sleep(0.02)
        assert process.poll() is None, f"it ended before it was killed:\n{process.stdout.read().decode()}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    "level, params",
    [
        ("small_cnn", {"small_cnn__epochs": 6}),
        ("top", {"top__epochs": 60, "top__patience": 40, "top__l2": 0.001}),
        ("finetune", {"finetune__epochs": 4, "finetune__patience": 2, "finetune__dropout": 0.4}),
    ],
)
def test_a_training_killed_in_the_middle_goes_on_and_ends_with_the_same_bytes(pipeline, level, params):
    change(pipeline, **params)
    try:
        run(pipeline, "dvc", "repro", level)
        expected, lock = outputs(pipeline, level), (pipeline / "dvc.lock").read_text()
        assert list((pipeline / ".cache/training").glob("*.npz")) == []

        restore(pipeline)
        change(pipeline, **params)
        for path in pipeline.glob(".dvc/cache/runs/*"):  # else it would come from there
            subprocess.run(["rm", "-r", path], check=True)
        killed(pipeline, level, after=2)
        output = run(pipeline, "dvc", "repro", level)
        assert "resumed after epoch " in output and "resumed after epoch 0" not in output
        assert outputs(pipeline, level) == expected
        assert (pipeline / "dvc.lock").read_text() == lock
        assert list((pipeline / ".cache/training").glob("*.npz")) == []
    finally:
        restore(pipeline)


def test_a_checkpoint_is_never_taken_for_that_of_another_training(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    own = training.identity("top")
    assert training.identity("top") == own != training.identity("small_cnn")
    try:
        change(pipeline, small_cnn__lr=0.5)
        assert training.identity("top") == own
        change(pipeline, top__lr=0.5)
        assert training.identity("top") != own
        restore(pipeline)
        module = pipeline / "stages/lib/models.py"
        module.write_text(module.read_text() + "\n")
        assert training.identity("top") != own
        restore(pipeline)
        run(pipeline, "stages.bottleneck")  # writes the same again
        assert training.identity("top") == own
        with open(activations.BOTTLENECK / "train.npy", "r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x01")
        assert training.identity("top") != own
    finally:
        restore(pipeline)
