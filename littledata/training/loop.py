"""The training loop of all three levels."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from dvclive import Live
from tqdm import tqdm

from littledata.core import environment, files
from littledata.core.errors import UserError
from littledata.core.params import Training
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
    params: Training,
    *,
    used: keras.Model | None = None,
    patience: int = 0,
    warmup: int = 0,
    ema: float = 0.0,
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
    params : Training
        The level's own.
    used : keras.Model, optional
        What is validated and saved, where that is another model with the same weights.
    patience : int, optional
        Training stops after so many looks without a gain, and keeps what `Best` keeps; with 0 it runs to the end and keeps the last.
    warmup, ema, jit_compile
        As `optimizer` and Keras take them.
    start : array of shape (n, classes), optional
        What the model says of the validation photos before it is trained, where it could be kept as it is: the first look.

    Raises
    ------
    UserError
        At the first loss that is NaN or infinite. Nothing of such a training is left.
    """
    (photos, labels), used, untrained = validation, used or model, start is not None
    looks = untrained + train.looks * params.epochs
    environment.keep_memory()
    prepare(model, train, params, warmup, ema, jit_compile)
    checkpoint, best = Checkpoint(name, model), Best(patience)
    history = checkpoint.resume(best)
    try:
        with Live(str(CURVES / name), save_dvc_exp=False, dvcyaml=False) as live:
            if history:
                print(f"resumed after epoch {history[-1]['epoch']:g} of {params.epochs}", flush=True)
            for row in history:
                log(live, row)
            for look in range(len(history), looks):
                if best.enough:
                    break
                if look < untrained:
                    probabilities, metrics, weights = start, {}, model.get_weights()
                else:
                    metrics, weights = train_until(look - untrained, model, train, params.epochs)
                    probabilities = models.predict(used, photos)
                check(probabilities)  # the last step's weights are in no loss
                losses = temperature.losses(labels, temperature.tempered(probabilities, temperature.best(labels, probabilities)))
                metrics |= {"val_accuracy": np.mean(probabilities.argmax(1) == labels), "val_loss": losses.mean()}
                row = {"epoch": (look + 1 - untrained) / train.looks} | metrics
                history.append({name: round(float(value), 6) for name, value in row.items()})
                log(live, history[-1])
                shown = ", ".join(f"{metric} {value:.4f}" for metric, value in metrics.items())
                print(f"epoch {history[-1]['epoch']:.4g} of {params.epochs}: {shown}", flush=True)
                best.update(model.get_weights(), probabilities, losses)
                model.set_weights(weights)
                if untrained <= look < looks - 1:
                    checkpoint.save(history, best)
    except Diverged:
        checkpoint.remove()  # to go on from it would be to diverge again
        shutil.rmtree(CURVES / name, ignore_errors=True)
        epoch = history[-1]["epoch"] if history else 0
        words = f"the loss is no number any more after epoch {epoch:g}: {name}.lr {params.lr:g} is too high. Lower it."
        raise UserError(words) from None

    model.set_weights(best.weights)
    factor = temperature.best(labels, best.probabilities)
    models.temper(model, factor)
    # Float32 does not tell apart what lies closer to 1 than 6e-8, which a high temperature would; and a mean of several answers
    # is tempered before it is one.
    again = factor > EXACT or used is not model or photos.shape[1] > 1
    activations.VALIDATION.mkdir(parents=True, exist_ok=True)
    with files.whole(activations.VALIDATION / f"{name}.npy") as file:
        np.save(file, models.predict(used, photos) if again else temperature.tempered(best.probabilities, factor))
    models.save(used, Path("models", f"{name}.keras"))
    checkpoint.remove()


def prepare(
    model: keras.Model, train: Batches, params: Training, warmup: int = 0, ema: float = 0.0, jit_compile: bool | str = "auto"
) -> None:
    """Compile a model with its loss and optimiser."""
    model.compile(
        optimizer(params, train.steps * params.epochs, warmup, ema),
        loss=models.loss(model),
        weighted_metrics=[],  # else Keras says that there are weights and no such metrics
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )
    model.optimizer.build(model.trainable_variables)


def train_until(look: int, model: keras.Model, train: Batches, epochs: int) -> tuple[dict[str, float], list[np.ndarray]]:
    """Train on the batches before this look.

    Returns their metrics, and the weights to go on from: where there is a moving average of them, Keras leaves that in the model.
    """
    train.start(look)
    weights: list[np.ndarray] = []
    label = f"epoch {(look + 1) / train.looks:.4g} of {epochs}"
    # A bar on a terminal; a log gets one line a look as it is.
    with tqdm(total=len(train), desc=label, unit=" batches", leave=False, file=sys.stdout, disable=not sys.stdout.isatty()) as bar:

        def after_batch(_, logs: Mapping[str, float]) -> None:
            check(logs["loss"])
            bar.update()

        callback = keras.callbacks.LambdaCallback(
            on_train_batch_end=after_batch, on_epoch_end=lambda *_: weights.extend(model.get_weights())
        )
        history = model.fit(train, shuffle=False, verbose=0, callbacks=[callback]).history
    return {metric: values[-1] for metric, values in history.items()}, weights


class Diverged(ArithmeticError):
    """The loss, or what follows from the weights, is NaN or infinite."""


def check(values: float | np.ndarray) -> None:
    """Raise Diverged where a value is NaN or infinite."""
    if not np.isfinite(values).all():
        raise Diverged


def log(live: Live, row: Mapping[str, float]) -> None:
    """Add a look to the learning curves."""
    live.step = row["epoch"]
    for name, value in row.items():
        if name != "epoch":
            live.log_metric(name, value)
    live.next_step()
