"""Which of levels 2 and 3 is handed out: the one with the lower log loss on validation photos.

The log loss tells sooner than the accuracy which of two levels is better. Each level ends with the temperature that is best for it, so
how sure a level is does not decide. Where level 3 wins nothing, level 2 is taken.
"""

import numpy as np

from littledata.scores import levels, temperature


def best(probabilities: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, str]:
    """The better level, `top` or `finetune`, and why, by their probabilities for validation photos, `probabilities[level]`."""
    losses = {level: float(temperature.losses(labels, probabilities[level]).mean()) for level in ("top", "finetune")}
    if abs(losses["top"] - losses["finetune"]) < levels.LEAST:
        return "top", f"fine-tuning won nothing on {len(labels)} validation photos"
    level, other = sorted(losses, key=losses.__getitem__)
    return level, f"its log loss on {len(labels)} validation photos is {losses[level]:.3f}, the other's {losses[other]:.3f}"
