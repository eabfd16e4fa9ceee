"""Write the model card, REPORT.md: data and its terms, results with intervals, known failures, training, how to reproduce.

Its pictures, metrics/accuracy.svg and metrics/curves.svg, stand in README.md and docs/results.md as well.
"""

from littledata.core import stage
from littledata.report import answers, card
from littledata.scores import levels, metrics
from littledata.splits import dataset


def main(params) -> None:
    photos, scores = dataset.read_manifest(), metrics.read()
    classes = dataset.class_names(photos)
    level, why = levels.handed_out()
    card.draw(scores, classes)
    sections = [
        card.summary(params, classes, scores[level]["test"], level, why),
        card.data(photos),
        card.results(scores),
        card.failures(answers.read(level, ["test"]), classes, params.fit),
        card.training(params),
        card.REPRODUCE,
    ]
    card.CARD.write_text("\n\n".join(sections) + "\n", encoding="utf-8")


if __name__ == "__main__":
    stage.run("card", main)
