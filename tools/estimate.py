"""How long a run will take here, before it begins.

What stages compute is counted from params and photos, and divided by this machine's own rate of matrix products, which a probe
of two seconds measures. `SHARES` says which share of that rate each stage reaches (`make bench`). Stages whose params, code and
data are those of dvc.lock, or of an earlier run that DVC's cache knows, count as nothing where this machine has what they made. So
do views that the memo of frozen layers has. Where it is not known before a run whether these are of its photos, or how far a
training was that was interrupted, the least counts them as done and the most does not.
"""

import functools
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from dvc.exceptions import DvcException
from dvc.repo import Repo
from onnx import TensorProto, helper
from ruamel.yaml import YAML

from littledata.core import environment, lockfile, params
from littledata.features import layers, memo, views
from littledata.pictures import deep
from tools import plan
from tools.lock import makers_of

SHARES = {
    "small_cnn": 0.34,
    "VGG16": {"activations": 1.8, "bottleneck": 1.2, "finetune": 0.75},  # of three times the forward pass
    "EfficientNetLite0": {"activations": 0.25, "bottleneck": 0.25, "finetune": 0.33},
}
# Operations of EfficientNet-Lite0's blocks for one photo of 224 px.
LITE = {
    "stem": 21.7e6, "block1": 20.1e6, "block2": 109.9e6, "block3": 75.9e6, "block4": 87.0e6, "block5": 172.0e6, "block6": 182.3e6,
    "block7": 58.8e6, "top": 40.1e6,
}  # fmt: skip
START = 4.0  # s, a stage's own: TensorFlow's import, DVC's hashing
DVC = 10.0  # s, of its own: its start, twice, and what it takes from its cache
PUBLISH = 40.0  # s, and a share of a second for each photo that is looked at once more
TOP = 0.5e-3  # s, a view and epoch of level 2
READ = 4e-3  # s, a view that the memo has
MARGINS = 0.6, 1.6  # rates differ by so much within an hour on a shared machine
SECONDS = 2.0  # of the probe
BEGUN = Path(".cache/training")  # checkpoints, as `training.checkpoint` names them, which would import Keras


def rate() -> float:
    """This machine's float32 matrix products: operations a second. By NumPy or by ONNX Runtime, whichever is faster: a NumPy whose BLAS
    does not know the processor, or has been told of another one, is slow, and no stage is."""
    a = np.random.default_rng(1).random((2048, 2048), np.float32)
    info = helper.make_tensor_value_info("a", TensorProto.FLOAT, a.shape)
    product = helper.make_tensor_value_info("b", TensorProto.FLOAT, a.shape)
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "a"], ["b"])], "probe", [info], [product])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = environment.THREADS
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    best = np.inf
    for multiply in (lambda: a @ a, lambda: session.run(None, {"a": a})):
        end = time.perf_counter() + SECONDS / 2
        while time.perf_counter() < end:
            start = time.perf_counter()
            multiply()
            best = min(best, time.perf_counter() - start)
    return 2 * len(a) ** 3 / best


def vgg16(size: int) -> dict[str, float]:
    """Operations of each of VGG16's blocks for one photo of `size` px."""
    found, channels = {}, 3
    for block, count in layers.CONVOLUTIONS.items():
        filters = layers.FILTERS[block]
        found[block] = 2 * 9 * size**2 * filters * (channels + (count - 1) * filters)
        size, channels = size // 2, filters
    return found


def halves(settings: Mapping) -> tuple[float, float] | None:
    """Operations for one photo below and above the place where a network is cut; None where nothing is known of the network."""
    size, cut = settings["image_size"], settings["finetune"]["unfreeze"][0]
    known = {"VGG16": vgg16(size), "EfficientNetLite0": {block: count * (size / 224) ** 2 for block, count in LITE.items()}}
    blocks = known.get(settings["backbone"], {})
    first = next((number for number, block in enumerate(blocks) if cut.startswith(block)), None)
    if first is None:
        return None
    costs = list(blocks.values())
    return sum(costs[:first]), sum(costs[first:])


def small_cnn(settings: Mapping) -> float:
    """Operations of level 1's convolutions for one photo."""
    size, channels, found = settings["image_size"], 3, 0.0
    for number, filters in enumerate(settings["filters"]):
        size = -(-size // (settings["first_stride"] if number == 0 else 1))
        found += 2 * 9 * size**2 * channels * filters
        size, channels = size // 2, filters
    return found


class Runs:
    """What DVC's cache has: of the stages that dvc.lock names, and of earlier runs (its run cache)."""

    def __init__(self, repo: Repo) -> None:
        self.objects, self.folder = Path(repo.cache.local.path), Path(repo.stage_cache.cache_dir)
        self.lacking = {
            stage.name for stage in repo.index.stages if any(not out.exists and out.changed_cache() for out in stage.outs)
        }

    @functools.cached_property
    def earlier(self) -> list[str]:
        """The run cache's entries, as DVC wrote them."""
        return [file.read_text() for file in self.folder.glob("*/*/*")]

    def has(self, md5: str) -> bool:
        return (self.objects / md5[:2] / md5[2:]).exists()

    def outs_of(self, ins: Mapping[str, object]) -> dict[str, str] | None:
        """What a run with these `lockfile.ins` has made, where the cache has all of it."""
        deps = [str(value) for key, value in ins.items() if key != "cmd" and not key.startswith("param ")]
        for text in self.earlier:
            if text.startswith(f"cmd: {ins['cmd']}\n") and all(md5 in text for md5 in deps):  # to parse all would take seconds
                run = YAML(typ="safe", pure=True).load(text)
                if lockfile.ins(run) == ins and all(map(self.has, lockfile.outs(run).values())):
                    return lockfile.outs(run)
        return None


def due(settings: Mapping) -> set[str]:
    """The stages that DVC will run: which params, code or data have changed since dvc.lock, or whose outputs are gone, and which
    its cache has no run of."""
    try:
        with Repo() as repo:
            runs = Runs(repo)
    except DvcException:  # what is wrong in dvc.yaml DVC says itself, in a moment
        return set()
    pipeline, lock = lockfile.stages(*params.PIPELINES), lockfile.stages(*lockfile.LOCKS)
    makers, made = makers_of(pipeline), dict(lockfile.made())
    changed, again = set(), set()
    for stage, declared in pipeline.items():  # they stand in the order in which they run
        locked = lockfile.ins(lock.get(stage, {}))
        if any(makers.get(lockfile.holder(path, makers)) in changed for path in lockfile.paths(declared, "deps")):
            changed.add(stage)
            continue
        now = lockfile.due(declared, settings, made, locked)
        if now == locked and stage not in runs.lacking:
            continue
        if (outs := runs.outs_of(now)) is not None:
            made |= outs
        else:
            (again if now == locked else changed).add(stage)  # what makes the same once more changes nothing that follows
    return changed | again


def remembered(settings: Mapping) -> int:
    """How many plain views the memo of frozen layers has for these params, whichever photos they are of."""
    if not views.WEIGHTS.exists():
        return 0
    depth = deep.read() if deep.DEPTH.exists() else deep.UNKNOWN
    return sum(1 for _ in memo.folder(*views.origin(settings, depth)).glob("*.npz"))


def seconds(settings: Mapping, stages: set[str], sizes: plan.Sizes, photos: int) -> tuple[float, float] | None:
    """The least and the most that a run takes, from the first look at which level 3 may stop to its last epoch; None where
    nothing is known of the network.

    Parameters
    ----------
    settings : mapping
        All params, as the run will have them.
    stages : set of str
        Which will run, as `due` has them.
    sizes : of int
        How many training, validation and test photos are drawn.
    photos : int
        How many there are in all.
    """
    if not stages:
        return 0.0, 0.0
    if not (costs := halves(settings)):
        return None
    (below, above), shares, per = costs, SHARES[settings["backbone"]], rate()
    train, validation, test = sizes
    views, known = plan.views_needed(settings, sizes), remembered(settings)
    listed = photos if settings["top"]["listed"] else 0  # whole networks, from pixels to averages
    cnn, level_1 = small_cnn(settings["small_cnn"]), settings["small_cnn"]["epochs"]
    begun = {path.name.partition("-")[0] for path in BEGUN.glob("*.npz")}

    def of_stages(tuned: int, views_known: int) -> dict[str, float]:
        seen = 3 * tuned + (tuned / look(settings, train) + 1) * validation * settings["activations"]["crops"]
        missing = max(0, views - views_known)
        seen_by_cnn = level_1 * (3 * train + validation * (1 + settings["small_cnn"]["mirror"]))
        return {
            "small_cnn": seen_by_cnn * cnn / SHARES["small_cnn"] / per,
            "activations": missing * below / shares["activations"] / per + views * READ,
            "bottleneck": (views * above + listed * (below + above)) / shares["bottleneck"] / per,
            "top": settings["top"]["epochs"] * (train + listed) * TOP,
            "finetune": seen * above / shares["finetune"] / per,
            "export": PUBLISH + test * (above + below) / per,
        }

    first, last = ends(settings, sizes)
    least = of_stages(first, known) | dict.fromkeys(begun, 0.0)
    most = of_stages(last, 0 if "subsample" in stages else known)
    low, high = (sum(START + of.get(stage, 0) for stage in stages) for of in (least, most))
    return MARGINS[0] * low, MARGINS[1] * high + DVC


def look(settings: Mapping, train: int) -> int:
    """After how many photos level 3 looks at the validation photos."""
    return min(train, settings["finetune"]["look"] or train)


def ends(settings: Mapping, sizes: plan.Sizes) -> tuple[int, int]:
    """How many photos level 3 has seen when it may stop first, and at its last epoch."""
    (train, validation, _), tuning = sizes, settings["finetune"]
    most = tuning["epochs"] * train
    return min(most, -(-tuning["patience"] // max(1, validation)) * look(settings, train) or most), most


def words(settings: Mapping, sizes: plan.Sizes, photos: int) -> str:
    """What `make repro` says of it, as `seconds` has it."""
    stages = due(settings)
    found = seconds(settings, stages, sizes, photos)
    if found is None:
        return f"How long it takes is not known for {settings['backbone']}."
    if found[1] == 0:
        return "Nothing has changed since the last run: this takes seconds."
    step, unit, name = (60, 60, "minutes") if found[1] > 100 else (10, 1, "seconds")
    low, high = found[0] // step * step / unit, -(-found[1] // step) * step / unit
    first, last = ends(settings, sizes)
    why = ": level 3 stops when validation photos say so" if "finetune" in stages and first < last else ""
    cores = f"{environment.THREADS} core{'s' * (environment.THREADS > 1)}"
    return f"This will take {f'{low:.0f} to' if low else 'up to'} {high:.0f} {name} here, on {cores}{why}."
