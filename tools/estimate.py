"""How long a run will take here, before it begins.

What stages compute is counted from params and photos, and divided by this machine's own rate of matrix products, which a probe
of a second or two measures. `SHARES` says which share of that rate each stage reaches (`make bench`). Stages whose params, code and
data are those of dvc.lock count as nothing where this machine has what they made, and so do photos that the memo of frozen layers
has.
"""

import contextlib
import time
from collections.abc import Iterable, Mapping

import numpy as np
import onnxruntime
from dvc.exceptions import DvcException
from dvc.repo import Repo
from onnx import TensorProto, helper

from stages import activations
from stages.core import environment, lockfile, params
from stages.frozen import layers, memo
from stages.pictures import deep
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
PUBLISH = 40.0  # s, and a share of a second for each photo that is looked at once more
TOP = 0.5e-3  # s, a view and epoch of level 2
READ = 4e-3  # s, a view that the memo has
MARGINS = 0.6, 1.6  # rates differ by so much within an hour on a shared machine
SECONDS = 1.0  # of the probe


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


def lacking() -> set[str]:
    """The stages that have an output neither here nor in DVC's cache, as all have in a fresh clone."""
    with contextlib.suppress(DvcException), Repo() as repo:  # what is wrong in dvc.yaml DVC says itself, in a moment
        return {stage.name for stage in repo.index.stages if any(not out.exists and out.changed_cache() for out in stage.outs)}
    return set()


def due(settings: Mapping) -> set[str]:
    """The stages that params, code or data have changed since dvc.lock, and those whose outputs are gone."""
    pipeline, lock = lockfile.stages(*params.PIPELINES), lockfile.stages(*lockfile.LOCKS)
    makers, made, changed = makers_of(pipeline), lockfile.made(), set()
    for stage, declared in pipeline.items():  # they stand in the order in which they run
        follows = any(makers.get(lockfile.holder(path, makers)) in changed for path in lockfile.paths(declared, "deps"))
        locked = lockfile.ins(lock.get(stage, {}))
        if follows or stage not in lock or lockfile.due(declared, settings, made, locked) != locked:
            changed.add(stage)
    return changed | lacking()  # what makes the same once more changes nothing that follows


def remembered(settings: Mapping) -> int:
    """How many plain views the memo of frozen layers has for these params, whichever photos they are of."""
    if not activations.WEIGHTS.exists():
        return 0
    depth = deep.read() if deep.DEPTH.exists() else deep.UNKNOWN
    return sum(1 for _ in memo.folder(*activations.origin(settings, depth)).glob("*.npz"))


def seconds(settings: Mapping, counts: Iterable[int]) -> tuple[float, float] | None:
    """The least and the most that a run takes, from the first look at which level 3 may stop to its last epoch; None where
    nothing is known of the network.

    Parameters
    ----------
    settings : mapping
        All params, as the run will have them.
    counts : iterable of int
        How many photos each class has.
    """
    stages = due(settings)
    if not stages:
        return 0.0, 0.0
    if not (costs := halves(settings)):
        return None
    (below, above), shares, counts, per = costs, SHARES[settings["backbone"]], list(counts), rate()
    train, validation, test = plan.drawn(settings, counts)
    views = plan.views_needed(settings, counts)
    tuning = settings["finetune"]
    missing = max(0, views - remembered(settings))
    listed = sum(counts) if settings["top"]["listed"] else 0  # whole networks, from pixels to averages
    cnn, level_1 = small_cnn(settings["small_cnn"]), settings["small_cnn"]["epochs"]
    look = min(train, tuning["look"] or train)
    most = tuning["epochs"] * train
    least = min(most, -(-tuning["patience"] // max(1, validation)) * look or most)

    def tuned(photos: float) -> float:
        return (
            (3 * photos * above + (photos / look + 1) * validation * settings["activations"]["crops"] * above)
            / shares["finetune"]
            / per
        )

    fixed = {
        "small_cnn": level_1 * (3 * train + validation * (1 + settings["small_cnn"]["mirror"])) * cnn / SHARES["small_cnn"] / per,
        "activations": missing * below / shares["activations"] / per + views * READ,
        "bottleneck": (views * above + listed * (below + above)) / shares["bottleneck"] / per,
        "top": settings["top"]["epochs"] * (train + listed) * TOP,
        "export": PUBLISH + test * (above + below) / per,
    }
    both = []
    for photos, margin in zip((least, most), MARGINS):
        of_stage = fixed | {"finetune": tuned(photos)}
        both.append(margin * sum(START + of_stage.get(stage, 0) for stage in stages))
    return both[0], both[1]


def words(settings: Mapping, counts: Iterable[int]) -> str:
    """What `make repro` says of it."""
    found = seconds(settings, counts)
    if found is None:
        return f"How long it takes is not known for {settings['backbone']}."
    if found[1] == 0:
        return "Nothing has changed since the last run: this takes seconds."
    low, high = (max(1, round(value / 60)) for value in found)
    cores = f"{environment.THREADS} core{'s' * (environment.THREADS > 1)}"
    return f"This will take {low} to {high} minutes here, on {cores}: level 3 stops when validation photos say so."
