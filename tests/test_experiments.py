"""Experiments side by side and one after another: the sweep, the search, and what a queued run may not lose."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, git, own, restore, run, stages_run
from optuna.distributions import FloatDistribution, IntDistribution

from littledata.core import params
from littledata.core.errors import UserError
from littledata.scores import metrics
from tools import search, sweep


@pytest.fixture
def workspace(pipeline):
    """The clone, put back afterwards."""
    yield pipeline
    restore(pipeline)


def experiments(folder) -> dict[str, dict]:
    """Params and scores of every experiment that ended, by its name."""
    (shown,) = (entry for entry in json.loads(run(folder, "dvc", "exp", "show", "--json")) if entry["rev"] != "workspace")
    found = {}
    for experiment in shown["experiments"] or []:
        data = experiment["revs"][0]["data"]
        if (experiment["executor"] or {}).get("state") == "failed":
            continue
        found[experiment["name"]] = {
            "params": data["params"]["params.yaml"]["data"],
            "scores": metrics.parse(git(folder, "show", f"{experiment['revs'][0]['rev']}:{metrics.SCORES}")),
        }
    return found


@pytest.mark.slow  # four experiments side by side
def test_a_sweep_computes_activations_once_each_leaves_the_workspace_and_says_which_failed(workspace):
    before = (workspace / "params.yaml").read_bytes(), (workspace / "dvc.lock").read_bytes()
    words = ["-j", "2", "-S", "activations.augmentation.rotation=3,7", "-S", "finetune.lr=1e-5,-1"]
    output = run(workspace, "tools.sweep", *words, check=False, apart=True)
    found = experiments(workspace)
    made = [(e["params"]["activations"]["augmentation"]["rotation"], e["params"]["finetune"]["lr"]) for e in found.values()]
    assert sorted(made) == [(3, 1e-5), (7, 1e-5)]
    logs = "".join(run(workspace, "dvc", "queue", "logs", name) for name in found)
    assert stages_run(logs).count("finetune") == 2 and set(stages_run(logs)) == {"finetune", "evaluate"}
    warmed = stages_run(output.partition("--queue")[0])
    assert sorted(warmed) == ["activations"] * 2 + ["bottleneck"] * 2 + ["top"] * 2, "nothing else is new"
    assert ((workspace / "params.yaml").read_bytes(), (workspace / "dvc.lock").read_bytes()) == before
    assert len({e["scores"]["finetune"]["validation"]["log_loss"] for e in found.values()}) == 2, "two different trainings"
    for name in re.search(r"^failed: (\S+), (\S+)\. `dvc queue logs NAME` says why", output, re.MULTILINE).groups():
        assert "finetune.lr is -1; expected a number, above 0, 1000 at most." in run(workspace, "dvc", "queue", "logs", name)


@pytest.mark.parametrize(
    "words, message",
    [
        (["tools.sweep", "-S", "finetune.rate=1,2"], "params.yaml has no finetune.rate."),
        (["tools.sweep", "-S", "finetune.lr=[1"], "finetune.lr=[1: "),
        (["tools.sweep", "-S", "finetune"], "finetune: "),
        (["tools.search", "-R", "finetune.rate=1..2"], "params.yaml has no finetune.rate."),
    ],
)
def test_a_sweep_and_a_search_say_what_is_wrong_before_anything_runs(pipeline, words, message):
    (line,) = run(pipeline, *words, check=False).splitlines()
    assert line.startswith(message)


def test_what_experiments_share_goes_by_the_stages_that_come_first():
    blocks, rates = ["finetune.unfreeze=[block5]", "finetune.unfreeze=[block4,block5]"], ["finetune.lr=1", "finetune.lr=2"]
    all_shared = ["image_size=99", "small_cnn.lr=1", "subsample={train: 3}"]
    assert sweep.shared(["finetune.lr=1", "finetune.batch_size=2", blocks[1]]) == (blocks[1],)
    assert sweep.shared(all_shared) == tuple(all_shared)
    asked = ["finetune.lr=1,2", "finetune.unfreeze=[block5],[block4,block5]"]
    assert sweep.combinations(asked) == [[rate, block] for rate in rates for block in blocks]


SPENT = """
from littledata.core import process
process.begin("spent", "__main__")  # as a stage does
import sys, time
from pathlib import Path
import numpy as np
from littledata.features import layers
from littledata.networks import backbone
network = backbone.load("VGG16", Path(sys.argv[1]))
batch = np.random.default_rng(1).random((16, 96, 96, 3), np.float32)
below = layers.Frozen(Path(sys.argv[1]), "VGG16", ["block4", "block5"])
def ncnn():
    list(below.outputs(batch, lambda picture: picture[None]))
for run in ncnn, lambda: network.predict_on_batch(batch):
    run()
    wall, spent = time.perf_counter(), time.process_time()
    for _ in range(4):
        run()
    print((time.process_time() - spent) / (time.perf_counter() - wall))
"""


@pytest.mark.skipif(sys.platform == "linux" and len(os.sched_getaffinity(0)) < 2, reason="takes two cores")
def test_a_worker_keeps_to_its_share_of_the_cores(pipeline):
    """Even where the process that started it, like this one, has set TensorFlow's own variable to all of them."""
    words = [sys.executable, "-c", SPENT, pipeline / "models/backbone.weights.h5"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "2"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    for runtime, cores in zip(("ncnn", "TensorFlow"), map(float, done.stdout.split())):
        assert cores < 1.15, runtime


def test_a_queued_run_finds_what_lies_in_the_project(workspace, photos, tmp_path_factory):
    """It works in a copy elsewhere: relative paths go by the project."""
    mine = own(workspace / "own", photos)
    sizes = ["subsample.train=10", "subsample.validation=4", "subsample.test=4"]
    changes = ["download.source=path", "download.path=own", *sizes]
    try:
        output = run(workspace, "dvc", "exp", "run", "--temp", *(w for c in changes for w in ("-S", c)), "subsample")
        assert stages_run(output) == ["download", "subsample"]
    finally:
        shutil.rmtree(mine)


@pytest.mark.parametrize(
    "text, name, kind",
    [
        ("finetune.lr=1e-6..1e-3", "finetune.lr", FloatDistribution(1e-6, 1e-3, log=True)),
        ("finetune.dropout=0..0.8", "finetune.dropout", FloatDistribution(0, 0.8)),
        ("top.units=64..512", "top.units", IntDistribution(64, 512)),
    ],
)
def test_ranges(text, name, kind):
    assert search.distribution(text, params.load(ROOT / "params.yaml").model_dump()) == (name, kind)


@pytest.mark.parametrize("text", ["finetune.lr", "finetune.lr=3", "finetune.lr=a..b", "finetune.lr=2..1", "image_size=48..", "small_cnn.mirror=0..1"])  # fmt: skip
def test_what_is_no_range_is_told(text):
    with pytest.raises(UserError, match=re.escape(text)):
        search.distribution(text, params.load(ROOT / "params.yaml").model_dump())


@pytest.mark.slow  # half a minute of trials by its nature; where a search begins is looked at below
def test_a_search_begins_with_the_params_as_they_are_and_goes_on_when_started_again(workspace):
    before = (workspace / "params.yaml").read_bytes(), (workspace / "dvc.lock").read_bytes()
    own = metrics.read(workspace / metrics.SCORES)["finetune"]["validation"]["log_loss"]
    words = ("tools.search", "--minutes", "0.4", "-R", "finetune.lr=1e-6..1e-2")
    first = run(workspace, *words)
    assert stages_run(first.split("$ ")[1]) == [], "the first trial comes from the cache"
    found = experiments(workspace)
    second = run(workspace, *words)
    after = experiments(workspace)
    assert len(after) > len(found) >= 2 and found.keys() <= after.keys()
    rates = [e["params"]["finetune"]["lr"] for e in after.values()]
    assert len(set(rates)) == len(rates) and all(1e-6 <= rate <= 1e-2 for rate in rates)
    assert own in [e["scores"]["finetune"]["validation"]["log_loss"] for e in after.values()]

    best, name = re.search(r"best ones first:\n(\S+)  (\S+): finetune.lr", second).groups()
    losses = {name: e["scores"]["finetune"]["validation"]["log_loss"] for name, e in after.items()}
    assert float(best) == pytest.approx(min(losses.values()), abs=1e-4) == pytest.approx(losses[name], abs=1e-4)
    assert ((workspace / "params.yaml").read_bytes(), (workspace / "dvc.lock").read_bytes()) == before


@pytest.mark.parametrize("text, first", [("top.l2=1e-6..1e-2", 1e-6), ("top.dropout=0.1..0.9", 0.7), ("top.units=300..512", 300)])
def test_a_search_begins_with_the_own_value_or_the_nearest_end_and_is_found_again(pipeline, monkeypatch, text, first):
    monkeypatch.chdir(pipeline)
    given = params.load().model_dump()
    space = dict([search.distribution(text, given)])
    study = search.study_of(space, given)
    trial = study.ask(space)
    assert trial.params == {text.partition("=")[0]: first}
    study.tell(trial, 0.5)
    again = search.study_of(space, given)
    assert [trial.value for trial in again.trials] == [0.5], "nothing is asked for twice"
    assert search.study_of(space, given | {"image_size": 99}).trials[0].value is None, "of other params it is another study"
