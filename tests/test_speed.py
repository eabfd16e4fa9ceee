"""What makes the workflow fast is also right, and what measures it measures the right things."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, change, offline, restore, run

from littledata.core import files, measured, stage
from littledata.features import activations, gpu, layers
from littledata.networks import backbone
from littledata.pictures import images
from littledata.splits import dataset
from studies import bench


@pytest.mark.parametrize("unfreeze", [["block5"], ["block4", "block5"], ["block2", "block3", "block4", "block5"]])
def test_frozen_blocks_put_out_what_keras_does(pipeline, unfreeze):
    weights = pipeline / "models/backbone.weights.h5"
    pixels = np.random.default_rng(1).integers(0, 256, (5, 70, 70, 3), np.uint8)  # an odd number of rows on the way
    batch = images.preprocess(pixels, "imagenet")
    network = backbone.load("VGG16", weights)
    for above in False, True:
        expected = (backbone.above if above else backbone.below)(network, unfreeze).predict_on_batch(batch)
        part = layers.Frozen(weights, "VGG16", unfreeze, above)
        assert expected.shape[1:] == part.output_shape(batch.shape[1:])
        computed = np.concatenate(list(part.outputs(batch, lambda picture: picture[None])))
        np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-5 * expected.max())
        batch = expected


IN_THREADS = """
import sys
from pathlib import Path
import numpy as np
from littledata.features import layers
pixels = np.random.default_rng(1).integers(0, 256, (6, 96, 96, 3), np.uint8)
network = layers.Frozen(Path(sys.argv[1]), "VGG16", ["block3", "block4", "block5"])
found = network.outputs(pixels, lambda pixels: network.preprocess(pixels[None], "imagenet"))
print(np.concatenate(list(found)).tobytes().hex())
print(*({"keras", "tensorflow"} & set(sys.modules)))
"""


@pytest.mark.skipif(gpu.used(), reason="for a machine without a GPU")
def test_frozen_blocks_are_the_same_to_the_byte_from_any_number_of_threads_and_need_no_tensorflow(pipeline):
    words = [sys.executable, "-c", IN_THREADS, pipeline / "models/backbone.weights.h5"]
    printed = []
    for threads in "13":
        env = os.environ | {"OMP_NUM_THREADS": threads}
        printed.append(subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout)
    assert printed[0] == printed[1] and len(printed[0]) == 2 * 4 * 6 * 24 * 24 * 128 + 2


@pytest.mark.skipif(gpu.used(), reason="for a machine without a GPU")
def test_activations_of_a_photo_are_computed_once_whatever_split_it_is_drawn_into(pipeline):
    change(pipeline, image_size=48)
    shutil.rmtree(pipeline / ".cache/memo")  # other tests may have had other draws
    try:
        run(pipeline, "stages.activations")
        kept = sorted((pipeline / ".cache/memo").rglob("*.npz"))
        assert len(kept) == 2 * (24 * 2 + 10 + 8), "a file for every view that the pipeline had"
        arrays = {path.name: path.read_bytes() for path in (pipeline / "data/activations").glob("*.npy")}
        ages = {path: path.stat().st_mtime_ns for path in kept}
        kept[0].write_bytes(kept[0].read_bytes()[:-100])  # what a crash leaves
        spoilt = bytearray(kept[1].read_bytes())
        spoilt[len(spoilt) // 2] ^= 1
        kept[1].write_bytes(spoilt)
        run(pipeline, "stages.activations")
        assert {path.name: path.read_bytes() for path in (pipeline / "data/activations").glob("*.npy")} == arrays
        assert [path for path in kept if path.stat().st_mtime_ns != ages[path]] == kept[:2]

        before = dataset.read_manifest(pipeline / dataset.MANIFEST)
        change(pipeline, subsample__seed=2)
        run(pipeline, "dvc", "repro", "activations")
        drawn = dataset.read_manifest(pipeline / dataset.MANIFEST)
        pictures = [
            {(p.sha256, view) for p in photos for view in range(2 if p.split == "train" else 1)} for photos in (before, drawn)
        ]
        now = set((pipeline / ".cache/memo").rglob("*.npz"))
        assert len(now - set(kept)) == len(pictures[1] - pictures[0]) and set(kept) < now
        assert all(path.stat().st_mtime_ns == ages[path] for path in kept[2:])
        redrawn = {path.name: path.read_bytes() for path in (pipeline / "data/activations").glob("*.npy")}
        shutil.rmtree(pipeline / ".cache/memo")
        run(pipeline, "stages.activations")
        assert {path.name: path.read_bytes() for path in (pipeline / "data/activations").glob("*.npy")} == redrawn
    finally:
        restore(pipeline)


def test_memory_of_activations_does_not_grow_with_the_photos(pipeline):
    """Each photo leaves 66 KB here, 2,400 of them 157 MB: a memory map would show them."""
    change(pipeline, finetune__unfreeze=["block3", "block4", "block5"], activations__views=1)
    manifest = dataset.read_manifest(pipeline / dataset.MANIFEST)
    peaks = []
    try:
        for times in (1, 50):
            more = [photo for photo in manifest if photo.split == "train"] * times
            more += [photo for photo in manifest if photo.split != "train"]
            (pipeline / dataset.MANIFEST).unlink()  # it may be a link into the cache
            dataset.write_manifest(more, pipeline / dataset.MANIFEST)
            subprocess.run([sys.executable, "-m", "stages.activations"], cwd=pipeline, env=offline(), check=True)  # no fork
            newest = max((pipeline / measured.MEASURED).glob("activations-*"), key=lambda path: path.stat().st_mtime_ns)
            peaks.append(json.loads(newest.read_text())["peak_memory_mb"])
            array, photos = activations.read(pipeline / activations.ACTIVATIONS, "train")
            assert array.shape == (48 * times, 1, 16, 16, 128) and len(photos) == 48 * times
    finally:
        restore(pipeline)
    assert peaks[1] < peaks[0] + 60


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux' file on a full disk")
def test_a_full_disk_is_an_error_not_a_crash(pipeline, tmp_path, monkeypatch):
    _, photos = activations.read(pipeline / activations.ACTIVATIONS, "train")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0" * 16)  # so that the name of the part is known
    (tmp_path / f"train.npy.{'0' * 16}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), activations.writer(tmp_path, photos, 1, (64, 64, 8)) as append:
        for _ in photos:
            append(np.zeros((64, 64, 8), np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"], "nothing half-written is left"


def test_peak_memory_is_a_process_own(pipeline):
    """What getrusage counts begins with the parent's peak, which here is pytest's with all its models."""
    code = "from littledata.core import stage; print(stage.peak_memory_mb())"
    before = int(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    held = np.ones(200 * 2**17)  # 200 MB
    after = int(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert held.nbytes == 200 * 2**20 and abs(after - before) < 20 and after < stage.peak_memory_mb()


def test_keras_is_imported_without_what_nothing_uses_and_that_can_still_be_had():
    code = "import sys; from littledata.networks import keras; found = {'sklearn', 'matplotlib'} & set(sys.modules)\n"
    code += "import sklearn.metrics, matplotlib.pyplot; print(found, sklearn.metrics.log_loss([0, 1], [0.5, 0.5]) > 0.69)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set() True\n"


def test_the_tables_of_the_benchmark_have_all_that_was_measured():
    result = json.loads((ROOT / bench.BENCHMARK).read_text())
    printed = bench.table(result)
    assert all(f"| {name} |" in printed for name in [*result["stages"], *result["networks"]])
    assert f"| {result['networks']['default']['warm_experiment']['seconds']:.1f} s |" in printed


def test_the_exported_files_of_a_network_are_in_the_table(pipeline):
    try:
        found = bench.network(pipeline, 12.0)
    finally:
        restore(pipeline)
    assert found["float32"]["photos"] == found["int8"]["photos"] == 20 and found["float32"]["same_class"] == 1
    assert found["int8"]["mb"] < 0.3 * found["float32"]["mb"] and found["activations_ms"] > 0 < found["finetune_ms"]
    assert found["cold_seconds"] == 12 and set(bench.stages_of(pipeline)) >= {"download", "finetune", "evaluate"}
    assert 0 < found["warm_experiment"]["but_steps_seconds"] < found["warm_experiment"]["seconds"]
