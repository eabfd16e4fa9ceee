"""How long a run will take here, said before it begins: what each due stage took here the last time, else in the published benchmark,
by the number of photos, epochs and pixels.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from dvc.repo import Repo

from littledata.core import environment, lockfile, measured, params
from tools import plan, recipe
from tools.lock import makers_of

BENCHMARK = Path("studies/results/benchmark.json")
NETWORKS = {"VGG16": "default", "EfficientNetLite0": "light"}  # what the benchmark calls them
OF_NETWORK = {"activations": "activations_ms", "bottleneck": "activations_ms", "finetune": "finetune_ms"}
# What the benchmark's stages had to do, as `work` counts it; level 3 looked five times.
DONE = {"small_cnn": 40 * 2000 * 96**2, "activations": 3200, "bottleneck": 3200, "top": 20 * 2000, "finetune": 11_500}
START = 4.0  # s, a stage's own: TensorFlow's import, DVC's hashing
PUBLISH = 7.0  # s, a stage of publish/dvc.yaml
DVC = 10.0  # s, of its own


def due(settings: Mapping) -> list[str]:
    """The stages that DVC will run: those whose params, code or data differ from dvc.lock's, and those whose outputs its cache lacks."""
    pipeline, lock, made = lockfile.stages(*params.PIPELINES), lockfile.stages(*lockfile.LOCKS), lockfile.made()
    makers, due, changed = makers_of(pipeline), [], set()
    with Repo() as repo:
        cache = Path(repo.cache.local.path)
    for stage, declared in pipeline.items():  # they stand in the order in which they run
        locked = lockfile.ins(lock.get(stage, {}))
        before = {makers.get(lockfile.holder(path, makers)) for path in lockfile.paths(declared, "deps")}
        outs = [made.get(path, "none") for path, flags in lockfile.paths(declared, "outs").items() if flags.get("cache", True)]
        if before & changed or lockfile.due(declared, settings, made, locked) != locked:
            changed.add(stage)
        if stage in changed or not all((cache / md5[:2] / md5[2:]).exists() for md5 in outs):
            due.append(stage)
    return due


def work(stage: str, settings: Mapping, sizes: plan.Sizes) -> float:
    """What the seconds of a stage grow with."""
    (train, validation, _), cnn, tuning = sizes, settings["small_cnn"], settings["finetune"]
    pixels = settings["image_size"] ** 2 / 224**2
    views = plan.views_needed(settings, sizes) * pixels
    look = max(1, min(train, tuning["look"] or train))
    seen = tuning["epochs"] * train
    if tuning["patience"]:  # two looks more than it takes at least
        seen = min(seen, (tuning["patience"] / max(1, validation) + 2) * look)
    counted = {
        "small_cnn": cnn["epochs"] * train * cnn["image_size"] ** 2,
        "activations": views,
        "bottleneck": views,
        "top": settings["top"]["epochs"] * train * settings["activations"]["views"],
        "finetune": (3 * seen + seen / look * validation * settings["activations"]["crops"]) * pixels,
    }
    return counted.get(stage, sum(sizes))


def published(stage: str, settings: Mapping, sizes: plan.Sizes) -> float:
    """The seconds of a stage on the machine of the benchmark."""
    benchmark = json.loads(BENCHMARK.read_text())
    if stage not in benchmark["stages"]:
        return PUBLISH
    share = work(stage, settings, sizes) / DONE.get(stage, 3200)
    if key := OF_NETWORK.get(stage):
        networks = benchmark["networks"]
        share *= networks[NETWORKS.get(settings["backbone"], "default")][key] / networks["default"][key]
    return START + max(0, benchmark["stages"][stage]["seconds"] - START) * share


def seconds(stage: str, lock: Mapping[str, dict], settings: Mapping, sizes: plan.Sizes) -> float:
    """What a stage takes here with these settings and so many training, validation and test photos."""
    if not (took := measured.of(stage, lock.get(stage, {}))):
        return published(stage, settings, sizes)
    locked = {name: value for entry in lock.values() for name, value in lockfile.ins(entry).items()}
    known = [(name, locked.get(f"param {name}", value)) for name, value in params.leaves(settings)]  # a lock may be of older params
    outs = {out["path"]: out.get("nfiles", 0) for entry in lock.values() for out in entry.get("outs", ())}
    had = tuple(size * outs.get("data/photos", 0) / sum(sizes) for size in sizes)
    return took["seconds"] / published(stage, recipe.with_values(settings, known), had) * published(stage, settings, sizes)


def words(settings: Mapping, sizes: plan.Sizes) -> str:
    """What `make repro` says of it."""
    if not (stages := due(settings)):
        return "Nothing has changed since the last run: this takes seconds."
    if settings["backbone"] not in NETWORKS:
        return f"How long it takes is not known for {settings['backbone']}."
    lock = lockfile.stages(*lockfile.LOCKS)
    took = DVC + sum(seconds(stage, lock, settings, sizes) for stage in stages)
    about = f"{took / 60:.0f} minutes" if took > 100 else f"{-(-took // 10) * 10:.0f} seconds"
    return f"This will take about {about} here, on {environment.THREADS} core{'s' * (environment.THREADS > 1)}."
