"""The optimiser by its name, its rate's schedule and its moving average of the weights."""

from littledata.core.params import Training
from littledata.networks import keras


def schedule(params: Training, steps: int, warmup: int = 0) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The rate: constant, or by `cosine` down to nothing over `steps` batches; over the first `warmup` batches it rises from
    nothing (Goyal et al., "Accurate, Large Minibatch SGD", 2017)."""
    rate, warmup = params.lr, min(warmup, steps - 1)
    if params.schedule == "cosine":
        if warmup:
            return keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=rate, warmup_steps=warmup)
        return keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.schedules.PolynomialDecay(0.0, warmup, end_learning_rate=rate) if warmup else rate


def optimizer(params: Training, steps: int, warmup: int = 0, ema: float = 0.0) -> keras.Optimizer:
    """The optimiser that a level's params name; SGD has the blog's momentum.

    Parameters
    ----------
    params : Training
        The level's own.
    steps : int
        How many batches the whole training has.
    warmup : int, optional
        As `schedule` takes it.
    ema : float, optional
        The momentum of the weights' moving average, which Keras leaves in the model at the end; 0: none.
    """
    more = {"momentum": 0.9} if params.optimizer == "sgd" else {}
    more |= {"use_ema": True, "ema_momentum": ema} if ema else {}
    return type(keras.optimizers.get(params.optimizer))(learning_rate=schedule(params, steps, warmup), **more)
