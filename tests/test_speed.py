"""What makes the workflow fast is also right, and what measures it measures the right things."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import change, restore, run

from stages.lib import activations, dataset, frozen, params, vgg16
from tools import bench


@pytest.mark.parametrize("unfreeze", [["block5"], ["block4", "block5"], ["block2", "block3", "block4", "block5"]])
def test_onnx_runtime_puts_out_what_keras_does(pipeline, unfreeze):
    network = vgg16.load(pipeline / "models/vgg16.weights.h5", 70)  # an odd number of rows on the way
    below = vgg16.below(network, vgg16.cut_layer(unfreeze))
    pixels = np.random.default_rng(1).integers(0, 256, (5, 70, 70, 3), np.uint8)
    batch = vgg16.preprocess(pixels, "vgg16")
    expected = below.predict_on_batch(batch)
    computed = frozen.runner(below)
    np.testing.assert_allclose(computed(batch), expected, rtol=1e-4, atol=1e-5 * expected.max())
    assert np.array_equal(computed(batch[:2]), computed(batch)[:2])  # a photo's output is its own, in any batch


def test_layers_that_vgg16_does_not_have_are_refused():
    with pytest.raises(TypeError, match="norm is a BatchNormalization"):
        frozen.to_onnx(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization(name="norm")]))


def test_memory_of_activations_does_not_grow_with_the_photos(pipeline):
    """Each photo leaves 131 KB here, 2,400 of them 314 MB: a memory map would show them."""
    change(pipeline, finetune__unfreeze=["block3", "block4", "block5"], activations__views=1)
    manifest = dataset.read_manifest(pipeline / dataset.MANIFEST)
    peaks = []
    try:
        for times in (1, 50):
            more = [photo for photo in manifest if photo.split == "train"] * times
            more += [photo for photo in manifest if photo.split != "train"]
            (pipeline / dataset.MANIFEST).unlink()  # it may be a link into the cache
            dataset.write_manifest(more, pipeline / dataset.MANIFEST)
            run(pipeline, "stages.activations")
            peaks.append(json.loads((pipeline / "metrics/timing/activations.json").read_text())["peak_memory_mb"])
            array, photos = activations.read(pipeline / activations.ACTIVATIONS, "train")
            assert array.shape == (48 * times, 1, 16, 16, 128) and len(photos) == 48 * times
    finally:
        restore(pipeline)
    assert peaks[1] < peaks[0] + 100


def test_a_full_disk_is_an_error_not_a_crash(pipeline, tmp_path):
    _, photos = activations.read(pipeline / activations.ACTIVATIONS, "train")
    (tmp_path / "train.npy").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), activations.writer(tmp_path, photos, 1, (64, 64, 8)) as append:
        for _ in photos:
            append(np.zeros((64, 64, 8), np.float32))


def test_nothing_to_do_takes_no_tensorflow(pipeline):
    command = [sys.executable, "-X", "importtime", "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=pipeline, capture_output=True, text=True, check=True)
    assert "up to date" in done.stdout and "| dvc" in done.stderr.replace("|   ", "| ")
    assert not {"tensorflow", "keras"} & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}


def test_the_count_of_operations_is_vgg16s_own():
    forward, step = bench.gflop(vgg16.build(224))
    assert forward == pytest.approx(2 * 15.35, rel=0.01)  # 15.3 billion multiply-adds, as its paper's tables give them
    assert step == pytest.approx(3 * forward, rel=0.01)


def test_the_plain_scripts_run(pipeline):
    measured = json.loads(run(pipeline, "tools.plain", "small_cnn").splitlines()[-1])
    assert measured["seconds"] == 50 * measured["epoch_seconds"] > 0


def test_every_stage_that_computes_has_its_operations():
    work = bench.work(params.load())
    assert set(work) == {"small_cnn", "activations", "bottleneck", "finetune"} and min(work.values()) > 0
