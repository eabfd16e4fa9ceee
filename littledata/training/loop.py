"""The training loop of all three levels."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from dvclive import Live
from tqdm import tqdm

from littledata.core import files
from littledata.core.errors import UserError
from littledata.features import activations
from littledata.networks import keras, models
from littledata.scores import temperature
from littledata.training.batches import Batches
from littledata.training.checkpoint import Best, Checkpoint
from littledata.training.optimizer import optimizer

CURVES = Path("metrics/curves")
EXACT = 2.0  # up to this temperature probabilities can be tempered as they are


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
    start: np.ndarray | None = None,
) -> None:
    """Train a level, and write its model, its learning curves, as they grow, and its validation photos' probabilities.

    A run that was interrupted, by whatever, goes on after the last look at the validation photos, and ends with the weights that
    it would have had. Writes models/<name>.keras; the curves `accuracy`, `loss`, `val_accuracy` and `val_loss` in
    metrics/curves/<name>/plots/metrics/, as DVCLive does it (`loss` alone has the L1 and L2 penalties in it); and
    data/validation/<name>.npy, probabilities of shape (n, classes), which `evaluate` reads.

    What a network is sure of says little about how sure it should be, so every look is judged, and the end is saved, with the
    temperature of the least loss on validation photos.

    Parameters
    ----------
    name : str
        The stage's.
    model : keras.Model
    train : Batches
    validation : pair of arrays
        Photos of shape (n, views, ...), over whose views answers are averaged, and their classes' numbers.
    params : mapping
        The level's own. With `patience` above 0 training stops after so many looks without a gain, and keeps what `Best` keeps;
        with 0 it runs to the end and keeps the last.
    used : keras.Model, optional
        What is validated and saved, where that is another model with the same weights.
    pace, jit_compile
        As `optimizer` and Keras take them.
    start : array of shape (n, classes), optional
        What the model says of the validation photos before it is trained, where it could be kept as it is: the first look.

    Raises
    ------
    UserError
        At the first loss that is NaN or infinite. Nothing of such a training is left.
    """
    (photos, labels), epochs, used = validation, params["epochs"], used or model
    looks = train.looks * epochs
    prepare(model, train, params, pace, jit_compile)
    checkpoint, best = Checkpoint(name, model), Best(params["patience"])
    history = checkpoint.resume(best)
    if history:
        print(f"resumed after epoch {history[-1]['epoch']:g} of {epochs}", flush=True)
    own: dict[str, list[np.ndarray]] = {}  # weights, where `fit` leaves their moving average instead
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: own.update(weights=model.get_weights()))

    def predict() -> np.ndarray:
        return np.concatenate(list(models.predicted(used, photos)))

    with _diverging(name, params, checkpoint, history), Live(str(CURVES / name), save_dvc_exp=False, dvcyaml=False) as live:

        def look(epoch: float, said: np.ndarray, found: Mapping[str, float]) -> None:
            check(said)  # the last step's weights are in no loss
            losses = temperature.losses(labels, temperature.tempered(said, temperature.best(labels, said)))
            row = {"epoch": epoch, **found, "val_accuracy": np.mean(said.argmax(1) == labels), "val_loss": losses.mean()}
            history.append({what: round(float(value), 6) for what, value in row.items()})
            log(live, history[-1])
            print(f"epoch {epoch:.4g} of {epochs}: " + ", ".join(f"{what} {row[what]:.4f}" for what in list(row)[1:]), flush=True)
            best.update(model.get_weights(), said, losses)

        for row in history:
            log(live, row)
        if start is not None and not history:
            look(0, start, {})
        for number in range(len(history) - (start is not None), looks):
            if best.enough:
                break
            train.start(number)
            with bar(len(train), f"epoch {(number + 1) / train.looks:.4g} of {epochs}") as shown:

                def after(_, logs):
                    check(logs["loss"])
                    shown.update()

                callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=after), *([keep] if params["ema"] else [])]
                found = model.fit(train, shuffle=False, verbose=0, callbacks=callbacks).history
            look((number + 1) / train.looks, predict(), {metric: values[-1] for metric, values in found.items()})
            if own:
                model.set_weights(own["weights"])
            if number + 1 < looks:
                checkpoint.save(history, best)

    model.set_weights(best.weights)
    factor = temperature.best(labels, best.probabilities)
    models.temper(model, factor)
    # Float32 does not tell apart what lies closer to 1 than 6e-8, which a high temperature would; and a mean of several answers
    # is tempered before it is one.
    again = factor > EXACT or used is not model or photos.shape[1] > 1
    activations.VALIDATION.mkdir(parents=True, exist_ok=True)
    with files.whole(activations.VALIDATION / f"{name}.npy") as file:
        np.save(file, predict() if again else temperature.tempered(best.probabilities, factor))
    models.save(used, Path("models", f"{name}.keras"))
    checkpoint.remove()


def bar(steps: int, label: str) -> tqdm:
    """A bar on a terminal, of a part of the training; a log gets one line a look as it is."""
    return tqdm(total=steps, desc=label, unit=" batches", leave=False, file=sys.stdout, disable=not sys.stdout.isatty())


class Diverged(ArithmeticError):
    """The loss, or what follows from the weights, is NaN or infinite."""


def check(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise Diverged


@contextmanager
def _diverging(name: str, params: Mapping, checkpoint: Checkpoint, history: list) -> Iterator[None]:
    """Make of a training that diverges an error that names its rate, and leave nothing of it: to go on from its checkpoint would
    be to diverge again."""
    try:
        yield
    except Diverged:
        checkpoint.remove()
        shutil.rmtree(CURVES / name, ignore_errors=True)
        epoch = history[-1]["epoch"] if history else 0
        words = f"the loss is no number any more after epoch {epoch:g}: {name}.lr {params['lr']} is too high. Lower it."
        raise UserError(words) from None


def prepare(model: keras.Model, train: Batches, params: Mapping, pace: Mapping[str, float] | None, jit_compile: bool | str) -> None:
    """Compile a model with its loss and optimiser, and give the batches the targets and weights that params ask for.

    With `class_weights` every class has the same share in the loss that is trained on, however many photos it has.
    `label_smoothing` and `mixup` change the targets that are trained on.
    """
    train.targets, train.mixup = models.targets(train.labels, params["label_smoothing"]), params["mixup"]
    if params["class_weights"]:
        train.weights = models.class_weights(train.labels)
    model.compile(
        optimizer(params, train.steps * params["epochs"], pace),
        loss=models.loss(model),
        weighted_metrics=[],  # else Keras says that there are weights and no such metrics
        metrics=[models.accuracy],
        jit_compile=jit_compile,
    )
    model.optimizer.build(model.trainable_variables)


def log(live: Live, row: Mapping[str, float]) -> None:
    """Add a look to the learning curves."""
    live.step = row["epoch"]
    for name, value in row.items():
        if name != "epoch":
            live.log_metric(name, value)
    live.next_step()
