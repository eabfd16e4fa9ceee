"""The model card, REPORT.md: data and its terms, training, results with intervals, known failures, how to reproduce.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. It has no dates: the same run gives the same page.
"""

import csv
import json
from collections import Counter
from pathlib import Path

from stages.lib import stage  # isort: skip: first the clock starts
from stages.lib import dataset, predicted
from stages.lib.tree import leaves

CARD = Path("REPORT.md")
LEVELS = {"small_cnn": "1 small convnet", "top": "2 classifier on VGG16's features", "finetune": "3 fine-tuned, exported"}
SPLITS = ("validation", "test")
SHOWN = 5  # mistakes


def rows(path: str) -> list[list[str]]:
    """The rows of a CSV file, without its header."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def table(header: list[str], body) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def data(manifest: list[dataset.Photo]) -> str:
    source = json.loads(Path("data/raw/source.json").read_text())
    counts = Counter((photo.kind, photo.split) for photo in manifest)
    classes = dataset.class_names(manifest)
    skipped = Counter(reason for *_, reason in rows("data/skipped.csv"))
    split_of = {photo.file: photo.split for photo in manifest}
    alike = rows("data/duplicates.csv")
    across = sum(split_of[row[1]] != split_of[row[3]] for row in alike)
    body = ([kind, *(counts[kind, split] for split in dataset.SPLITS)] for kind in classes)
    reasons = "".join(f"\n- {count} skipped: {reason}" for reason, count in sorted(skipped.items()))
    return f"""\
Photos of the source `{source["source"]}`, sha256 `{source["sha256"]}`. Terms: {source["terms"]}

{table(["class", *dataset.SPLITS], body)}

- {len(alike)} pairs of near-duplicates among them, {across} across splits (`data/duplicates.csv`){reasons or chr(10) + "- no photo skipped"}"""


def results() -> str:
    metrics = json.loads(Path("metrics/metrics.json").read_text())
    body = []
    for level, name in LEVELS.items():
        for split in SPLITS:
            s = metrics[level][split]
            accuracy = f"{s['accuracy']:.3f} ({s['accuracy_low']:.3f}-{s['accuracy_high']:.3f})"
            body.append([name, split, accuracy, f"{s['balanced_accuracy']:.3f}", f"{s['log_loss']:.3f}", f"{s['roc_auc']:.4f}"])
    return table(["level", "photos", "accuracy (95 % Wilson interval)", "balanced accuracy", "log loss", "ROC AUC"], body)


def failures() -> str:
    files, labels, probabilities, classes = predicted.read("finetune", "test")
    said = probabilities.argmax(1)
    lines = []
    for number, kind in enumerate(classes):
        own = labels == number
        taken = Counter(classes[other] for other in said[own & (said != number)])
        wrong = ", ".join(f"{count} taken for {other}" for other, count in sorted(taken.items())) or "none mistaken"
        lines.append(f"- {kind}: of {own.sum()} test photos, {wrong}")
    worst = sorted((n for n in range(len(files)) if said[n] != labels[n]), key=lambda n: probabilities[n, labels[n]])[:SHOWN]
    body = ([f"`{files[n]}`", classes[labels[n]], classes[said[n]], f"{probabilities[n].max():.3f}"] for n in worst)
    mistakes = table(["surest mistakes", "is", "said", "probability"], body) if worst else "No test photo is mistaken."
    return "\n".join(lines) + f"\n\n{mistakes}"


def main(params) -> None:
    manifest = dataset.read_manifest()
    classes = dataset.class_names(manifest)
    model = json.loads(Path("metrics/metrics.json").read_text())["finetune"]["test"]
    body = ([f"`{name}`", f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"] for name, value in leaves(params))
    CARD.write_text(
        f"""\
# Model card: {", ".join(classes)}

Says which of {len(classes)} classes a photo shows: VGG16, pretrained on ImageNet, its last blocks fine-tuned. Test
accuracy {model["accuracy"]:.3f}. In: a photo, squashed to {params["image_size"]} x {params["image_size"]} px. Out: a
probability for every class, {", ".join(classes)}. The file is `models/classifier.onnx`; `predict` runs it.

This page is made by the pipeline (stage `card`).

## Data

{data(manifest)}

## Results

{results()}

Training saw training photos alone; what was chosen was chosen by validation photos. Test photos were looked at once.

## Known failures

{failures()}

Any picture gets one of the {len(classes)} classes, also one that shows none of them or several. Photos that differ from
those above in kind (drawings, night, close-ups of a part) were not looked at. Squashing to a square distorts panoramas.

## How it was trained

In three levels, each on top of what the one before gave; see README.md. The params of this run:

{table(["param", "value"], body)}

## How to reproduce it

At this commit, `make repro` with the same photos, or `make pull` from the team's remote. `dvc.lock` and `publish/dvc.lock`
hold the digest of everything that went in and came out; `make check-lock` says whether they belong together. The same
params, photos and kind of processor give the same bytes.
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    stage.run("card", main)
