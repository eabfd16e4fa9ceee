"""The default recipe on the hand-downloaded archive, whole and cold: `make test-slow`, about half an hour."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run

from littledata.core import files, params
from littledata.networks import backbone, keras
from littledata.photos import sources
from littledata.scores import metrics

pytestmark = pytest.mark.slow
GIVEN = os.environ.get(sources.ARCHIVE_VARIABLE)


@pytest.mark.skipif(not GIVEN, reason=f"set {sources.ARCHIVE_VARIABLE} to the archive that the committed results are of")
def test_a_cold_run_in_a_fresh_clone_gives_every_hash_of_the_committed_lock(tmp_path):
    expected = params.load(ROOT / "params.yaml")["download"]["sha256"]
    assert files.sha256_of(sources.kaggle_train_zip(Path(GIVEN))) == expected
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    network = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "")
    run(clone, "dvc", "repro", DOGS_VS_CATS_ARCHIVE=GIVEN, **network)
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True).stdout
    assert changed == ""
    scores = metrics.read(clone / metrics.SCORES)
    for level, least in {"small_cnn": 0.84, "top": 0.97, "finetune": 0.97}.items():
        for split in ("validation", "test"):
            assert scores[level][split]["accuracy"] >= least, (level, split)
    tuned = keras.saving.load_model(clone / "models/finetune.keras", compile=False)
    before = backbone.load("VGG16", clone / "models/backbone.weights.h5", 224)
    for name in ("block5_conv1", "block5_conv2", "block5_conv3"):
        assert not np.array_equal(tuned.get_layer(name).get_weights()[0], before.get_layer(name).get_weights()[0])
