"""Say how far each level's probabilities for test photos can be trusted.

Writes metrics/levels.csv: accuracies beside the blog's; metrics/precision_recall/<level>.csv: the curve of the second class of two, or
of every class against the others; metrics/calibration/<level>.csv: of photos with so much confidence, the share that is right.
"""

from littledata.core import process

process.begin("diagnose", __name__)

from littledata.core import stage, tables
from littledata.report import diagnose
from littledata.scores import levels, metrics, predicted


def main(params) -> None:
    for level in levels.LEVELS:
        _, labels, probabilities, classes = predicted.read(level, "test")
        curve = diagnose.precision_recall(labels, probabilities, classes)
        groups = diagnose.calibration(labels, probabilities)
        tables.write(diagnose.METRICS / f"precision_recall/{level}.csv", ["recall", "precision", "class"], curve)
        tables.write(diagnose.METRICS / f"calibration/{level}.csv", ["confidence", "accuracy", "photos"], groups)
    tables.write(diagnose.METRICS / "levels.csv", ["level", "accuracy"], diagnose.accuracies(metrics.read(), classes))


if __name__ == "__main__":
    stage.run("diagnose", main)
