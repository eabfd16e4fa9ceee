"""The optimiser by its name: its rate's schedule, its moving average and, for fine-tuning, a pace for every block."""

from collections.abc import Mapping

from littledata.networks import keras


def schedule(params: Mapping, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The rate: constant, or by `cosine` down to nothing over `steps` batches; over the first `warmup` batches it rises from
    nothing (Goyal et al., "Accurate, Large Minibatch SGD", 2017)."""
    rate, warm = float(params["lr"]), min(params["warmup"], steps - 1)
    if params["schedule"] == "cosine":
        if warm:
            return keras.optimizers.schedules.CosineDecay(0.0, steps - warm, warmup_target=rate, warmup_steps=warm)
        return keras.optimizers.schedules.CosineDecay(rate, steps)
    if warm:
        return keras.optimizers.schedules.PolynomialDecay(0.0, warm, end_learning_rate=rate)
    return rate


def optimizer(params: Mapping, steps: int, pace: Mapping[str, float] | None = None) -> keras.Optimizer:
    """The optimiser that a level's params name.

    Parameters
    ----------
    params : mapping
        The level's own. `ema` is the momentum of the weights' moving average.
    steps : int
        How many batches the whole training has.
    pace : mapping of a variable's path to a float, optional
        What each variable's rate is multiplied by.
    """
    kind = type(keras.optimizers.get(params["optimizer"]))
    more = {"momentum": params["momentum"]} if params["optimizer"] in ("sgd", "rmsprop") else {}
    if params["ema"]:
        more |= {"use_ema": True, "ema_momentum": params["ema"]}
    return (paced(kind, pace) if pace else kind)(learning_rate=schedule(params, steps), **more)


def paced(kind: type[keras.Optimizer], pace: Mapping[str, float]) -> type[keras.Optimizer]:
    """A kind of optimiser that multiplies the rate of each variable by its `pace`, by path."""
    own: dict[int, float] = {}

    class Paced(kind):
        def build(self, variables):
            super().build(variables)
            own.update((id(variable.value), pace[variable.path]) for variable in variables)

        def update_step(self, gradient, variable, learning_rate):  # it gets TensorFlow's own variable, which has no path
            super().update_step(gradient, variable, learning_rate * own[id(variable)])

    return Paced
