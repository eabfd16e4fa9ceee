"""Choose the level that is handed out: levels 2 and 3 compete on validation photos.

    dvc exp run -S export.level=top publish/dvc.yaml        # level 2, whatever they say

The lower log loss wins. It tells sooner than the accuracy which of two levels is better, and every level was given the temperature
that is best for it, so that it is not a matter of how sure they are. Where level 3 wins nothing, level 2 is taken. Writes
metrics/choice.csv, which all that is made of the chosen level reads.
"""

from littledata.core import process

process.begin("choose", __name__)

import numpy as np

from littledata.core import stage, tables
from littledata.features import activations
from littledata.scores import choose, levels, temperature
from littledata.splits import dataset


def main(params) -> None:
    manifest = dataset.read_manifest()
    labels = dataset.labels(dataset.of_split(manifest, "validation"), dataset.class_names(manifest))
    found = {level: np.load(activations.VALIDATION / f"{level}.npy") for level in ("top", "finetune")}
    asked = params["export"]["level"]
    chosen, why = choose.best(found, labels) if asked == "best" else (asked, "export.level names it")
    rows = []
    for level, said in found.items():
        loss, accuracy = temperature.losses(labels, said).mean(), np.mean(said.argmax(1) == labels)
        name = levels.LEVELS[level] + (f", handed out: {why}" if level == chosen else "")
        rows.append([level, name, f"{loss:.6f}", f"{accuracy:.6f}", why if level == chosen else ""])
    tables.write(levels.CHOICE, ["key", "level", "log_loss", "accuracy", "handed_out"], rows)
    print(f"handed out: level {levels.LEVELS[chosen]}, {why}")


if __name__ == "__main__":
    stage.run("choose", main)
