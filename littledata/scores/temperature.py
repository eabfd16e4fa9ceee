"""How sure a network is: one number, the temperature, that its logits are divided by (Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017). The class that is said stays the same."""

import numpy as np
from scipy.optimize import minimize_scalar


def losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Each photo's share of the log loss, for class numbers of shape (n,) and probabilities of shape (n, classes).

    Probabilities below 1e-7, float32's resolution, count as that.
    """
    return -np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1))


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities whose logits are divided by a temperature: above 1 they are less sure."""
    powers = np.clip(probabilities, 1e-7, 1) ** (1 / temperature)
    return powers / powers.sum(1, keepdims=True)


def best(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature of the least log loss, from 1/4 to 20: a handful of photos that all are right would ask for none."""

    def loss(logarithm: float) -> float:
        return losses(labels, tempered(probabilities, np.exp(logarithm))).mean()

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.25), np.log(20)), method="bounded").x))
