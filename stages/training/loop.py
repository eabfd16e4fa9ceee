"""The training loop of all three levels."""

import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from dvclive import Live

from stages.core.errors import UserError
from stages.frozen import activations
from stages.networks import keras, models
from stages.training.batches import Batches
from stages.training.checkpoint import Checkpoint
from stages.training.optimizer import optimizer

CURVES = Path("metrics/curves")


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

    A run that was interrupted, by whatever, goes on after the last epoch that it finished, and ends with the weights that it
    would have had. Writes models/<name>.keras; the curves `accuracy`, `loss`, `val_accuracy` and `val_loss` in
    metrics/curves/<name>/plots/metrics/, as DVCLive does it (`loss` alone has the L1 and L2 penalties in it); and
    data/validation/<name>.npy, probabilities of shape (n, classes), which `evaluate` reads.

    Parameters
    ----------
    name : str
        The stage's.
    model : keras.Model
    train : Batches
        With a part of the photos, that counts as an epoch.
    validation : pair of arrays
        Photos of shape (n, views, ...), over whose views answers are averaged, and their classes' numbers.
    params : mapping
        The level's own. With `patience` above 0 training stops once the validation loss has not improved for so many epochs,
        and the weights of its best epoch are kept; with 0 it runs to the end and keeps the last.
    used : keras.Model, optional
        What is validated and saved, where that is another model with the same weights.
    pace, jit_compile
        As `optimizer` and Keras take them.

    Raises
    ------
    UserError
        At the first loss that is NaN or infinite. Nothing of such a training is left.
    """
    epochs, patience, used = math.ceil(params["epochs"]), params["patience"], used or model
    prepare(model, train, params, pace, jit_compile)
    checkpoint = Checkpoint(name, model) if epochs > 1 else None
    history, best, probabilities = checkpoint.resume() if checkpoint else ([], [], np.empty(0))
    if history:
        print(f"resumed after epoch {len(history)} of {epochs}", flush=True)
    own: dict[str, list[np.ndarray]] = {}  # weights, where `fit` leaves their moving average instead
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: own.update(weights=model.get_weights()))
    callbacks = [keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: check(logs["loss"]))]
    shown = {"add_history": True, "add_progbar": True, "verbose": 1 if sys.stdout.isatty() else 2, "epochs": epochs}
    callbacks += [keep] if params["ema"] else []
    callbacks = keras.callbacks.CallbackList(callbacks, model=model, steps=len(train), **shown)
    with _diverging(name, params, checkpoint, history), Live(str(CURVES / name), save_dvc_exp=False, dvcyaml=False) as live:
        for number, row in enumerate(history, 1):
            log(live, min(number, params["epochs"]), row)

        for epoch in range(len(history), epochs):
            train.start(epoch + 1)
            found = model.fit(train, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, callbacks=callbacks).history
            said = np.concatenate(list(models.predicted(used, validation[0])))
            check(said)  # the last step's weights are in no loss
            row = {metric: round(float(values[-1]), 6) for metric, values in found.items()} | scores(said, validation[1])
            log(live, min(epoch + 1, params["epochs"]), row)  # a part of an epoch is that part
            history.append(row)

            losses = [row["val_loss"] for row in history]
            since_best = epoch - losses.index(min(losses))
            if not since_best or not patience:
                best, probabilities = model.get_weights(), said
            if patience and since_best >= patience:
                break
            if own:
                model.set_weights(own["weights"])
            if checkpoint and epoch + 1 < epochs:
                checkpoint.save(history, best, probabilities)

    model.set_weights(best)
    activations.VALIDATION.mkdir(parents=True, exist_ok=True)
    np.save(activations.VALIDATION / f"{name}.npy", probabilities)
    models.save(used, Path("models", f"{name}.keras"))
    if checkpoint:
        checkpoint.remove()


class Diverged(ArithmeticError):
    """The loss, or what follows from the weights, is NaN or infinite."""


def check(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise Diverged


@contextmanager
def _diverging(name: str, params: Mapping, checkpoint: Checkpoint | None, history: list) -> Iterator[None]:
    """Make of a training that diverges an error that names its rate, and leave nothing of it: to go on from its checkpoint would
    be to diverge again."""
    try:
        yield
    except Diverged:
        if checkpoint:
            checkpoint.remove()
        shutil.rmtree(CURVES / name, ignore_errors=True)
        raise UserError(
            f"the loss is no number any more in epoch {len(history) + 1}: {name}.lr {params['lr']} is too high. Lower it."
        ) from None


def prepare(model: keras.Model, train: Batches, params: Mapping, pace: Mapping[str, float] | None, jit_compile: bool | str) -> None:
    """Compile a model with its loss and optimiser, and give the batches the targets and weights that params ask for.

    With `class_weights` every class has the same share in the loss that is trained on, however many photos it has.
    `label_smoothing` and `mixup` change the targets that are trained on.
    """
    train.targets, train.mixup = models.targets(train.labels, params["label_smoothing"]), params["mixup"]
    if params["class_weights"]:
        train.weights = models.class_weights(train.labels)
    model.compile(
        optimizer(params, len(train) * math.ceil(params["epochs"]), pace),
        loss=models.loss(model),
        weighted_metrics=[],  # else Keras says that there are weights and no such metrics
        metrics=[models.accuracy],
        jit_compile=jit_compile,
    )
    model.optimizer.build(model.trainable_variables)


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """An epoch's accuracy and loss on validation photos."""
    accuracy, loss = np.mean(probabilities.argmax(1) == labels), np.mean(models.losses(labels, probabilities))
    return {"val_accuracy": round(float(accuracy), 6), "val_loss": round(float(loss), 6)}


def log(live: Live, step: float, row: Mapping[str, float]) -> None:
    """Add an epoch to the learning curves."""
    live.step = step
    for name, value in row.items():
        live.log_metric(name, value)
    live.next_step()
