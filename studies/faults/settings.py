"""params.yaml with one value of a wrong type, out of range, or right but extreme."""

import itertools
import random
import time
from collections.abc import Iterator

import numpy as np
from ruamel.yaml import YAML

from littledata.core import params
from littledata.core.errors import UserError
from studies.faults.ground import REPRO, Place, Tried, brief, kind
from tools import recipe

CASES = 50  # a try, of one batch each
ODD = (None, True, -1, 0, 1, 0.5, 1e308, -1e308, float("nan"), float("inf"), 10**12, "", "x", "1", [], [1], {}, {"a": 1})
EXTREME: dict[str, tuple] = {
    "image_size": (48, 1000, 33333), "filters": ([1], [1, 1, 1, 1, 1, 1], [4096], [7]), "first_stride": (3, 31, 1000),
    "lr": (1e-300, 1e-9, 1.0, 1e9), "epochs": (1,), "batch_size": (1, 3, 10**9), "units": (0, 1, 10**9), "dropout": (0.0, 0.95),
    "l1": (0, 1e308), "l2": (0, 1e308), "ema": (0.9999,), "warmup": (10**9,), "patience": (10**9, 1), "look": (1, 10**9),
    "views": (1, 2, 3, 10**9), "train": (1, 2, 10**9, 1e-9, 0.999999), "validation": (1, 10**9, 1e-9), "test": (1, 10**9),
    "parts": (2, 3, 10**9), "part": (1, 2), "seed": (0, 2**32 - 1), "crops": (5,), "pooling": ("flatten", "average"),
    "rotation": (180,), "zoom": (0.9,), "shear": (1,), "shift": (0.3,), "colour": (0.9,),
    "unfreeze": (["block3", "block4", "block5"], ["block2", "block3", "block4", "block5"], ["block5", "block5"], ["x"]),
    "backbone": ("VGG16", "EfficientNetLite0", "VGG19"),
}  # fmt: skip


def generated(place: Place, rng: random.Random) -> Iterator[tuple[str, dict]]:
    """Trees of params without end, each with one value changed, and which."""
    right = params.read(place.first.folder / params.PARAMS)
    names = [name for name, _ in params.leaves(right) if not name.startswith("download.")]
    while True:
        name = rng.choice(names)
        value = rng.choice(ODD if rng.random() < 0.5 else EXTREME.get(name.rpartition(".")[2], ODD))
        yield f"{name}={value!r}", recipe.with_values(right, [(name, value)])


def one_batch(settings: params.Params) -> None:
    """Build levels 1 and 2 as params have them, and train each on one batch of noise: raises what the stages would."""
    from littledata.networks import keras, models
    from littledata.training import batches, loop

    rng, labels = np.random.default_rng(1), np.arange(6) % 2
    first, second = models.small_cnn(2, settings.small_cnn), models.top((2, 2, 512), 2, settings.top)
    for model, level in ((first, settings.small_cnn), (second, settings.top)):
        noise = rng.integers(0, 255, (6, *model.input_shape[1:])).astype(np.float32)
        train = batches.Batches(lambda epoch, rows, noise=noise: noise[rows], labels, level.batch_size, settings.seed)
        loop.prepare(model, train, level, jit_compile=False)
        model.run_eagerly = True  # for one batch nothing is worth compiling
        pictures, targets, weights = train[0]
        losses = model.evaluate(pictures, targets, sample_weight=weights, verbose=0)
        model.train_on_batch(pictures, targets, sample_weight=weights)
        assert np.isfinite(losses).all() or settings.top.l1 or settings.top.l2, losses
    keras.backend.clear_session()


@kind("an odd value in params.yaml, one batch")
def in_process(place: Place, rng: random.Random) -> Iterator[Tried]:
    """Params through the check, and through a batch of levels 1 and 2: one line, or no error at all."""
    for label, changed in itertools.islice(generated(place, rng), CASES):
        failure = None
        try:
            one_batch(params.check(changed, params.PARAMS))
        except UserError as error:
            failure = None if len(str(error).splitlines()) == 1 else f"not one line: {error}"
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        yield Tried(label, failure)


@kind("an odd value in params.yaml, a run")
def whole_run(place: Place, rng: random.Random) -> Iterator[Tried]:
    """One clear line, or a run that ends well; and from the right params again what was before."""
    (label, changed), ground, start = next(generated(place, rng)), place.ground(), time.monotonic()
    path = ground.folder / params.PARAMS
    right = path.read_text()
    YAML(typ="safe", pure=True).dump(changed, path)
    status, printed = ground.run(*REPRO)
    bad = status and ("Traceback (most" in printed or status < 0)
    failure = f"after {time.monotonic() - start:.0f} s: {brief(printed)}" if bad else None
    path.write_text(right)
    yield Tried(label, failure or ground.again())
