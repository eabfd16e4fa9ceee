"""What each level's probabilities for test photos are worth: precision and recall, and calibration.

Writes metrics/levels.csv, accuracies beside the blog's; metrics/precision_recall/<level>.csv, for the second class of two
or for every class against the rest; and metrics/calibration/<level>.csv: of photos that were said with so much confidence, how
many were right.
"""

from littledata.core import process

process.begin("diagnose", __name__)

from littledata.core import stage, tables
from littledata.report import diagnose
from littledata.scores import levels, metrics, predicted


def main(params) -> None:
    *_, classes = predicted.read("finetune", "test")
    tables.write(diagnose.METRICS / "levels.csv", ["level", "accuracy"], diagnose.accuracies(metrics.read(), classes))
    for level in levels.LEVELS:
        _, labels, probabilities, classes = predicted.read(level, "test")
        tables.write(
            diagnose.METRICS / "calibration" / f"{level}.csv",
            ["confidence", "accuracy", "photos"],
            diagnose.calibration(labels, probabilities),
        )
        shown = range(1, 2) if len(classes) == 2 else range(len(classes))
        rows = ((*point, classes[number]) for number in shown for point in diagnose.precision_recall(labels, probabilities, number))
        tables.write(diagnose.METRICS / "precision_recall" / f"{level}.csv", ["recall", "precision", "class"], rows)


if __name__ == "__main__":
    stage.run("diagnose", main)
