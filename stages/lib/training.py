"""What the three trainings share: batches of cached views, and `fit` with its learning curves and its resuming."""

import contextlib
import functools
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
from dvclive import Live

from stages.lib import activations, dataset, environment, files, models, params
from stages.lib.errors import UserError

CURVES = Path("metrics/curves")
CHECKPOINTS = environment.ROOT / ".cache/training"
ABANDONED_SECONDS = 14 * 24 * 3600
MIRROR, MIXUP = 1, 2  # keep their random numbers apart from those of the order
WARM_UP = 0.1  # of the training


class Batches(keras.utils.PyDataset):
    """Batches of (float32 array, targets, weights); every epoch has its own view of a photo.

    Parameters
    ----------
    view : callable (epoch, rows) -> array
        What the photos numbered `rows` look like in an epoch.
    labels : int array of shape (n,)
    seed : int
        Of the order, which changes with every epoch.
    part : float
        How much of the photos an epoch has: the first ones of its order.
    """

    def __init__(self, view: Callable, labels: np.ndarray, batch_size: int, seed: int, part: float = 1) -> None:
        super().__init__()
        self.view, self.labels, self.batch_size, self.seed = view, labels, batch_size, seed
        self.count = max(1, round(part * len(labels)))
        self.targets, self.weights, self.mixup = models.targets(labels), np.ones(len(labels), np.float32), 0.0
        self.start(1)

    def start(self, epoch: int) -> None:
        """Have the batches of this epoch, counted from 1."""
        self.epoch, self.order = epoch, np.arange(len(self.labels))
        np.random.default_rng([self.seed, epoch]).shuffle(self.order)
        self.order = self.order[: self.count]

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        pictures, targets = self.view(self.epoch, rows).astype(np.float32), self.targets[rows]
        if self.mixup:
            rng = np.random.default_rng([self.seed, self.epoch, MIXUP, number])
            share, other = rng.beta(self.mixup, self.mixup, len(rows)).astype(np.float32), rng.permutation(len(rows))
            share = np.maximum(share, 1 - share)  # a photo stays more its own than another one's
            pictures, targets = (mixed(values, values[other], share) for values in (pictures, targets))
        return pictures, targets, self.weights[rows]


def mixed(values: np.ndarray, others: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Along axis 0, so much of the one and the remainder of the other (Zhang et al., "mixup", ICLR 2018)."""
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return share * values + (1 - share) * others


def cached(
    folder: Path,
    batch_size: int,
    seed: int,
    *,
    views: int | None = None,
    part: float = 1,
    mirror: bool = False,
) -> Batches:
    """`Batches` of the training photos' cached activations or bottleneck features, their views cycled through the epochs.

    In epoch e photo i has view (e - 1 + i) mod `views`, so that every batch mixes plain and augmented ones; with 1 every
    epoch has the plain photo. None: all views that are cached. With as many views as epochs this equals augmentation on
    the fly.

    With `mirror` half of the photos, others in every epoch, are mirrored after the fact: their activations, left
    to right. The network's filters are not symmetric, so this is not quite what the mirrored photo would give,
    but it costs nothing.

    Raises
    ------
    UserError
        Where more views are asked for than the folder has.
    """
    array, photos = activations.read(folder, "train")
    count = array.shape[1] if views is None else views
    if count > array.shape[1]:
        raise UserError(f"{count} views are asked for, activations.views has made {array.shape[1]}: raise it or ask for fewer.")
    labels = dataset.labels(photos, dataset.class_names(photos))

    @functools.lru_cache(maxsize=1)
    def mirrored(epoch):
        return np.random.default_rng([seed, epoch, MIRROR]).random(len(labels)) < 0.5

    def view(epoch, rows):
        batch = array[rows, (epoch - 1 + rows) % count]
        if mirror:
            turned = mirrored(epoch)[rows]
            batch[turned] = batch[turned, :, ::-1]
        return batch

    return Batches(view, labels, batch_size, seed, part)


def validation(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What is cached of the validation photos, an array of shape (n, views, ...), and their classes' numbers."""
    array, photos = activations.read(folder, "validation")
    return array, dataset.labels(photos, dataset.class_names(photos))


def optimizer(params: Mapping, steps: int, pace: Mapping[str, float] | None = None) -> keras.Optimizer:
    """The optimiser by name.

    Parameters
    ----------
    params : mapping
        The level's own. With `cosine` the rate falls to nothing over `steps` batches, with `warmup` it rises during the
        first tenth of them before it does; `ema` is the momentum of the weights' moving average.
    pace : mapping of a variable's path to a float, optional
        What its rate is multiplied by, where that isn't 1.
    """
    rate = params["lr"]
    if params["schedule"] == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(params["lr"], steps)
    elif params["schedule"] == "warmup":
        warm = max(1, round(WARM_UP * steps))
        rate = keras.optimizers.schedules.CosineDecay(0.0, max(1, steps - warm), warmup_target=params["lr"], warmup_steps=warm)
    kind = type(keras.optimizers.get(params["optimizer"]))
    more = {"momentum": params["momentum"]} if params["optimizer"] in ("sgd", "rmsprop") else {}
    if params["ema"]:
        more |= {"use_ema": True, "ema_momentum": params["ema"]}

    class Paced(kind):
        def update_step(self, gradient, variable, learning_rate):
            # TensorFlow hands over its own variable; by this number Keras' optimisers find what they keep for it.
            path = self._trainable_variables[self._get_variable_index(variable)].path
            super().update_step(gradient, variable, learning_rate * pace[path])

    return (Paced if pace else kind)(learning_rate=rate, **more)


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """The model with its weights' moving average, where the optimiser keeps one."""
    if not model.optimizer.use_ema:
        yield
        return
    own = model.get_weights()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    yield
    model.set_weights(own)


class Epochs(keras.callbacks.Callback):
    """What comes with an epoch: its batches, and after it validation, a point of the learning curves, early stopping,
    and a checkpoint.

    Parameters
    ----------
    train : Batches
    validation : pair of arrays
        Photos of shape (n, views, ...), over whose views answers are averaged, and their classes' numbers.
    params : mapping
        The level's own.
    live : dvclive.Live
        Where the learning curves grow.
    checkpoint : Path, optional
        Where each epoch but the last leaves all that the next ones depend on.
    used : keras.Model
        What predicts the validation photos: the model that is trained, or another one with its weights.
    """

    def __init__(
        self,
        train: Batches,
        validation: tuple[np.ndarray, np.ndarray],
        params: Mapping,
        live: Live,
        checkpoint: Path | None,
        used: keras.Model,
    ) -> None:
        super().__init__()
        self.used = used
        self.train, self.validation, self.level, self.live, self.checkpoint = train, validation, params, live, checkpoint
        self.history: list[dict[str, float]] = []
        self.kept: list[np.ndarray] = []  # the weights of the best epoch, where patience asks for them
        self.probabilities = np.empty(0)  # of the validation photos, by the weights that the training ends with

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.train.start(epoch + 1)  # Keras counts from 0, and would say that an epoch ended before the first

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        photos, labels = self.validation
        with averaged(self.model):
            probabilities = np.concatenate(list(models.predicted(self.used, photos)))
            weights = self.model.get_weights() if self.level["patience"] else []
        logs["val_accuracy"] = np.mean(probabilities.argmax(1) == labels)
        logs["val_loss"] = np.mean(models.losses(labels, probabilities))
        self.log({name: round(float(value), 6) for name, value in logs.items()})

        patience, losses = self.level["patience"], [row["val_loss"] for row in self.history]
        best = losses.index(min(losses))
        if not patience or best == epoch:
            self.probabilities = probabilities
        if patience and best == epoch:
            self.kept = weights
        if patience and epoch - best >= patience:
            self.model.stop_training = True
        elif self.checkpoint and epoch + 1 < self.level["epochs"]:
            self.write()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.kept:
            self.model.set_weights(self.kept)

    def log(self, row: dict[str, float]) -> None:
        """Add an epoch to the learning curves; a part of one is that part."""
        self.history.append(row)
        self.live.step = min(len(self.history), self.level["epochs"])
        for name, value in row.items():
            self.live.log_metric(name, value)
        self.live.next_step()

    def state(self) -> list[keras.Variable]:
        """All that the training changes: weights, moving averages, the random numbers of dropout, the optimiser."""
        return [*self.model.variables, *self.model.optimizer.variables]

    def write(self) -> None:
        content = {f"state{number}": np.asarray(variable) for number, variable in enumerate(self.state())}
        content |= {f"kept{number}": weight for number, weight in enumerate(self.kept)}
        history = json.dumps(self.history)
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        part = self.checkpoint.with_suffix(f".{os.getpid()}.part")
        with open(part, "wb") as file:
            np.savez(file, history=history, probabilities=self.probabilities, **content)
            file.flush()
            os.fsync(file.fileno())  # else a machine that goes down may leave the name without the content
        os.replace(part, self.checkpoint)

    def resume(self) -> int:
        """Go back to where an interrupted run of this very training was; returns how many epochs it had finished."""
        if not self.checkpoint or not self.checkpoint.exists():
            return 0
        with np.load(self.checkpoint, allow_pickle=False) as saved:
            for number, variable in enumerate(self.state()):
                variable.assign(saved[f"state{number}"])
            self.kept = [saved[f"kept{number}"] for number in range(sum(name.startswith("kept") for name in saved))]
            self.probabilities = saved["probabilities"]
            for row in json.loads(str(saved["history"])):
                self.log(row)
        print(f"resumed after epoch {len(self.history)} of {self.level['epochs']}", flush=True)
        return len(self.history)


def identity(stage: str) -> str:
    """A digest of all that a stage's result depends on: its params, its code, the data it reads, and the number of
    threads, by which sums are split.

    A checkpoint goes by it, so that none is ever taken for that of another training.
    """
    sha256 = hashlib.sha256(f"{environment.THREADS} {params.for_stage(stage)}".encode())
    for dep in map(Path, params.declared(stage)["deps"]):
        for file in sorted(dep.rglob("*")) if dep.is_dir() else [dep]:
            if file.is_file():
                sha256.update(f"{file}\0{files.sha256_of(file)}\0".encode())
    return sha256.hexdigest()


def fit(
    name: str,
    model: keras.Model,
    train: Batches,
    validation: tuple[np.ndarray, np.ndarray],
    params: Mapping,
    *,
    used: keras.Model | None = None,
    pace: Mapping[str, float] | None = None,
    jit_compile: bool | str = "auto",
) -> None:
    """Train a level, and write its model, its learning curves, as they grow, and its validation photos' probabilities.

    With `patience` above 0, training stops once the validation loss has not improved for so many epochs, and the
    weights of its best epoch are kept; with 0 it runs to the end and keeps the last. A part of an epoch counts as one:
    `train` has only that part of the photos. With `class_weights` every class has the same share in the loss that is
    trained on, however many photos it has. `label_smoothing` and `mixup` change the targets that are trained on, `pace` is
    what `optimizer` takes. `used` is the model as it is validated and saved, where that is another one with the same weights.

    A run that was interrupted, by whatever, goes on from the last epoch that it finished, and ends with the weights that
    it would have had.

    Writes models/<name>.keras; the curves `accuracy`, `loss`, `val_accuracy` and `val_loss` in
    metrics/curves/<name>/plots/metrics/, as DVCLive does it (`loss` alone has the L1 and L2 penalties in it); and
    data/validation/<name>.npy, probabilities of shape (n, classes), which `evaluate` reads.
    """
    epochs, used = math.ceil(params["epochs"]), used or model
    train.targets, train.mixup = models.targets(train.labels, params["label_smoothing"]), params["mixup"]
    if params["class_weights"]:
        train.weights = models.class_weights(train.labels)
    model.compile(
        optimizer(params, len(train) * epochs, pace),
        loss=models.loss(model),
        weighted_metrics=[],  # else Keras says that there are weights and no such metrics
        metrics=[models.accuracy],
        jit_compile=jit_compile,
    )
    model.optimizer.build(model.trainable_variables)
    checkpoint = CHECKPOINTS / f"{name}-{identity(name)[:16]}.npz" if epochs > 1 else None
    with Live(str(CURVES / name), save_dvc_exp=False, dvcyaml=False) as live:
        epoch = Epochs(train, validation, params, live, checkpoint, used)
        epoch.set_model(model)
        done = epoch.resume()
        model.fit(
            train,
            initial_epoch=done,
            epochs=epochs,
            callbacks=[epoch],
            shuffle=False,  # `Batches` shuffles, in an order that its seed alone decides
            verbose=1 if sys.stdout.isatty() else 2,
        )
    activations.VALIDATION.mkdir(parents=True, exist_ok=True)
    np.save(activations.VALIDATION / f"{name}.npy", epoch.probabilities)
    models.save(used, Path("models", f"{name}.keras"))
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
        for abandoned in CHECKPOINTS.iterdir():  # by runs that nobody went on with, or that died as they wrote
            if time.time() - abandoned.stat().st_mtime > ABANDONED_SECONDS:
                abandoned.unlink(missing_ok=True)
