"""Write the model card, REPORT.md: data and its terms, results with intervals, known failures, training, how to reproduce.

Its pictures, metrics/accuracy.svg and metrics/curves.svg, stand in README.md and docs/results.md as well.
"""

from littledata.core import process

process.begin("card", __name__)

from littledata.core import stage
from littledata.report import answers, card
from littledata.scores import levels, metrics
from littledata.splits import dataset


def main(params) -> None:
    photos, scores = dataset.read_manifest(), metrics.read()
    classes = dataset.class_names(photos)
    level, why = levels.handed_out()
    card.draw(scores, classes)
    sections = {
        f"# Model card: {card.names(classes)}": card.summary(params, classes, scores[level]["test"], level, why),
        "## Data": card.data(photos),
        "## Results": card.results(scores),
        "## Known failures": card.failures(answers.read(level, ["test"]), classes, params.fit),
        "## How it was trained": card.training(params),
        "## How to reproduce it": card.REPRODUCE,
    }
    card.CARD.write_text("\n\n".join(f"{heading}\n\n{text}" for heading, text in sections.items()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    stage.run("card", main)
