"""Choose the level that is handed out: levels 2 and 3 compete on validation photos.

    dvc exp run -S export.level=top publish/dvc.yaml        # level 2, whatever the photos say

Writes metrics/choice.csv, which everything reads that is made of the chosen level.
"""

from littledata.core import process

process.begin("choose", __name__)

import numpy as np

from littledata.core import stage, tables
from littledata.features import activations
from littledata.scores import choose, levels, temperature
from littledata.splits import dataset


def main(params) -> None:
    photos = dataset.read_manifest()
    labels = dataset.labels(dataset.of_split(photos, "validation"), dataset.class_names(photos))
    probabilities = {level: np.load(activations.VALIDATION / f"{level}.npy") for level in ("top", "finetune")}
    asked = params.export.level
    chosen, why = choose.best(probabilities, labels) if asked == "best" else (asked, "export.level names it")
    rows = []
    for level, of_photos in probabilities.items():
        loss, accuracy = temperature.losses(labels, of_photos).mean(), np.mean(of_photos.argmax(1) == labels)
        reason = why if level == chosen else ""
        name = levels.LEVELS[level] + (f", handed out: {reason}" if reason else "")
        rows.append([level, name, f"{loss:.6f}", f"{accuracy:.6f}", reason])
    tables.write(levels.CHOICE, ["key", "level", "log_loss", "accuracy", "handed_out"], rows)
    print(f"handed out: level {levels.LEVELS[chosen]}, {why}")


if __name__ == "__main__":
    stage.run("choose", main)
