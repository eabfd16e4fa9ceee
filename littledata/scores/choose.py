"""Choose the level that is handed out: levels 2 and 3 compete on validation photos.

    dvc exp run -S export.level=top publish/dvc.yaml        # level 2, whatever they say

The lower log loss wins. It tells sooner than the accuracy which of two levels is better, and every level was given the temperature
that is best for it, so that it is not a matter of how sure they are. Where level 3 wins nothing, level 2 is taken. Writes
metrics/choice.csv, which all that is made of the chosen level reads.
"""

import numpy as np

from littledata.scores import levels, temperature


def best(found: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, str]:
    """The better of levels 2 and 3 by their probabilities for validation photos, and why."""
    two, three = (float(temperature.losses(labels, found[level]).mean()) for level in ("top", "finetune"))
    if abs(two - three) < levels.LEAST:
        return "top", f"fine-tuning won nothing on {len(labels)} validation photos"
    level = "finetune" if three < two else "top"
    low, high = sorted((two, three))
    return level, f"its log loss on {len(labels)} validation photos is {low:.3f}, the other's {high:.3f}"
