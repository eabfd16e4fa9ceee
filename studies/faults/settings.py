"""params.yaml with one value of a wrong type, out of range, or right but extreme."""

import copy
import random
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from ruamel.yaml import YAML

from littledata.core import params
from littledata.core.errors import UserError
from studies.faults.ground import REPRO, Fault, Ground, beside, brief

ODD = (None, True, -1, 0, 1, 0.5, 1e308, -1e308, float("nan"), float("inf"), 10**12, "", "x", "1", [], [1], {}, {"a": 1})
EXTREME: dict[str, tuple] = {
    "image_size": (48, 1000, 33333),
    "lr": (1e-300, 1e-9, 1.0, 1e9),
    "epochs": (1,),
    "batch_size": (1, 3, 10**9),
    "filters": ([1], [1, 1, 1, 1, 1, 1], [4096], [7]),
    "first_stride": (3, 31, 1000),
    "units": (0, 1, 10**9),
    "dropout": (0.0, 0.95),
    "l1": (0, 1e308), "l2": (0, 1e308),
    "ema": (0.9999,), "warmup": (10**9,),
    "patience": (10**9, 1), "look": (1, 10**9), "views": (1, 2, 3, 10**9),
    "train": (1, 2, 10**9, 1e-9, 0.999999), "validation": (1, 10**9, 1e-9), "test": (1, 10**9),
    "parts": (2, 3, 10**9), "part": (1, 2), "seed": (0, 2**32 - 1),
    "rotation": (180,), "zoom": (0.9,), "shear": (1,), "shift": (0.3,), "colour": (0.9,),
    "unfreeze": (["block3", "block4", "block5"], ["block2", "block3", "block4", "block5"], ["block5", "block5"], ["x"]),
    "backbone": ("VGG16", "EfficientNetLite0", "VGG19"), "crops": (5,), "pooling": ("flatten", "average"),
}  # fmt: skip


def generated(settings: dict, rng: random.Random) -> Iterator[tuple[str, dict]]:
    """Trees of params without end, each with one value changed, and which."""
    names = [name for name, _ in params.leaves(settings) if not name.startswith("download.")]
    while True:
        name = rng.choice(names)
        choices = ODD if rng.random() < 0.5 else EXTREME.get(name.rpartition(".")[2], ODD)
        value = rng.choice(choices)
        changed = copy.deepcopy(settings)
        *parents, last = name.split(".")
        node = changed
        for parent in parents:
            node = node[parent]
        node[last] = value
        yield f"{name}={value!r}", changed


def one_batch(settings: params.Params, features: tuple[int, int, int] = (2, 2, 512), classes: int = 2) -> None:
    """Build levels 1 and 2 as params have them, and train each on one batch of noise: raises what the stages would."""
    from littledata.networks import keras, models
    from littledata.training import batches, loop

    rng = np.random.default_rng(1)
    for level, shape in {"small_cnn": (settings.small_cnn.image_size,) * 2 + (3,), "top": features}.items():
        given, labels = settings[level], np.arange(6) % classes
        model = models.small_cnn(classes, given) if level == "small_cnn" else models.top(shape, classes, given)
        pictures = rng.integers(0, 255, (6, *shape)).astype(np.float32)
        train = batches.Batches(lambda epoch, rows, pictures=pictures: pictures[rows], labels, given.batch_size, settings.seed)
        loop.prepare(model, train, given, jit_compile=False)
        model.run_eagerly = True  # for one batch nothing is worth compiling
        pictures, targets, weights = train[0]
        found = model.evaluate(pictures, targets, sample_weight=weights, verbose=0)
        model.train_on_batch(pictures, targets, sample_weight=weights)
        assert np.isfinite(found).all() or level == "top" and (given.l1 or given.l2), found
    keras.backend.clear_session()


def in_process(cases: Iterable[tuple[str, dict]], until: float, fault: Fault) -> None:
    """Params through the check, and through building and a batch of all levels: one line, or no error at all."""
    for label, changed in cases:
        if time.monotonic() > until:
            return
        trouble = None
        try:
            one_batch(params.check(changed, params.PARAMS))
        except UserError as error:
            trouble = None if len(str(error).splitlines()) == 1 else f"not one line: {error}"
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        fault.note(label, trouble)


def whole_run(ground: Ground, fault: Fault, label: str, settings: dict) -> None:
    """One clear line, or a run that ends well; and from the right params again what was before."""
    path = ground.folder / params.PARAMS
    right = path.read_text()
    YAML(typ="safe", pure=True).dump(settings, path)
    start = time.monotonic()
    status, said = ground.run(*REPRO)
    trouble = (
        f"after {time.monotonic() - start:.0f} s: {brief(said)}" if status and ("Traceback (most" in said or status < 0) else None
    )
    path.write_text(right)
    fault.note(label, trouble or ground.again())


def run(grounds: Sequence[Ground], seconds: dict[str, float], until: float, seed: int) -> list[Fault]:
    names = "an odd value in params.yaml, one batch", "an odd value in params.yaml, a run"
    rng, inside, fault = random.Random(seed), *map(Fault, names)
    settings = params.read(grounds[0].folder / params.PARAMS)
    cases = generated(settings, rng)
    in_process(cases, (time.monotonic() + until) / 2, inside)
    beside((lambda ground, case=case: whole_run(ground, fault, *case) for case in cases), grounds, until)
    return [inside, fault]
