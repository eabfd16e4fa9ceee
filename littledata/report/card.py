"""The model card, REPORT.md: data and its terms, training, results with intervals, known failures, how to reproduce; and its
pictures, metrics/accuracy.svg and metrics/curves.svg, which README.md and docs/results.md show as well.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. It has no dates: the same run gives the same page.
"""

import csv
import json
from collections import Counter
from pathlib import Path

from matplotlib import rcParams
from matplotlib.figure import Figure

from littledata.core import tables
from littledata.scores import levels, predicted
from littledata.splits import dataset

rcParams["text.parse_math"] = False  # a $ in a name is no formula
CARD = Path("REPORT.md")
PICTURES = {"accuracy": Path("metrics/accuracy.svg"), "curves": Path("metrics/curves.svg")}
CURVES = Path("metrics/curves")
# Okabe and Ito's palette, told apart by every eye; the markers differ as well
BLOG, VALIDATION, TEST, TRAIN = ("#000000", "D"), ("#0072B2", "o"), ("#D55E00", "s"), ("#E69F00", "^")
SPLITS = ("validation", "test")
SHOWN = 5  # mistakes
FITTED = {  # how photos become squares, and what comes of it
    "squash": ("squashed", "Squashing to a square distorts panoramas."),
    "crop": ("cropped", "Cropping to a square leaves out both ends of panoramas."),
    "pad": ("padded", "Padding to a square leaves panoramas few pixels."),
}


def data(manifest: list[dataset.Photo]) -> str:
    source = json.loads(Path("data/raw/source.json").read_text())
    counts = Counter((photo.kind, photo.split) for photo in manifest)
    classes = dataset.class_names(manifest)
    skipped = Counter(reason.partition(":")[0] for *_, reason in tables.rows("data/skipped.csv"))
    split_of = {photo.file: photo.split for photo in manifest}
    alike = tables.rows("data/duplicates.csv")
    across = sum(split_of[row[1]] != split_of[row[3]] for row in alike)
    splits = dataset.splits(manifest)
    body = ([tables.plain(kind), *(counts[kind, split] for split in splits)] for kind in classes)
    reasons = "".join(f"\n- {count} skipped: {tables.plain(reason)}" for reason, count in sorted(skipped.items()))
    reasons = reasons or "\n- no photo skipped"
    left_out = ", ".join(f"{count} {tables.plain(kind)}" for kind, count in source.get("left_out", {}).items())
    reasons += f"\n- left out, as no photos: {left_out}" if left_out else ""
    return f"""\
Photos of the source `{source["source"]}`, sha256 `{source["sha256"]}`. Terms: {source["terms"]}

{tables.markdown(["class", *splits], body)}

- {len(alike)} pairs of near-duplicates among them, {across} across splits (`data/duplicates.csv`){reasons}"""


def results(found: dict) -> str:
    body = []
    for level, name in levels.LEVELS.items():
        for split, s in found[level].items():
            accuracy = f"{s['accuracy']:.3f} ({s['accuracy_low']:.3f}-{s['accuracy_high']:.3f})"
            area = "" if s["roc_auc"] is None else f"{s['roc_auc']:.4f}"  # in the rest there may be one class alone
            body.append([name, split, accuracy, f"{s['balanced_accuracy']:.3f}", f"{s['log_loss']:.3f}", area])
    return tables.markdown(["level", "photos", "accuracy (95 % Wilson interval)", "balanced accuracy", "log loss", "ROC AUC"], body)


def accuracy_picture(found: dict, classes: list[str]) -> Figure:
    """Draw every level's accuracy with its interval, beside the blog's where that is of the same classes."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axis = figure.subplots()
    for place, level in enumerate(levels.LEVELS):
        if classes == levels.BLOG_CLASSES:
            low, high = levels.BLOG[level]
            axis.plot(
                [low, high], [place - 0.25] * 2, color=BLOG[0], marker=BLOG[1], label=None if place else "the blog, validation"
            )
        for offset, split, (colour, marker) in ((0, "validation", VALIDATION), (0.25, "test", TEST)):
            s = found[level][split]
            error = [[s["accuracy"] - s["accuracy_low"]], [s["accuracy_high"] - s["accuracy"]]]
            label = None if place else f"{split}, with its 95 % interval"
            axis.errorbar(s["accuracy"], place + offset, xerr=error, color=colour, marker=marker, capsize=3, label=label)
    axis.set_yticks(range(len(levels.LEVELS)), list(levels.LEVELS.values()))
    axis.invert_yaxis()
    axis.set_xlabel("accuracy")
    axis.set_title("How good each level is")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def curves_picture() -> Figure:
    """Accuracy on training and on validation photos, epoch by epoch: where they part, a level learns photos by heart."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axis, (level, name) in zip(figure.subplots(1, 3, sharey=True), levels.LEVELS.items()):
        for curve, what, (colour, marker) in (("accuracy", "training", TRAIN), ("val_accuracy", "validation", VALIDATION)):
            with open(CURVES / level / f"plots/metrics/{curve}.tsv", newline="") as file:
                points = [(float(row["step"]), float(row[curve])) for row in csv.DictReader(file, delimiter="\t")]
            epochs, values = zip(*points)
            dot = marker if len(points) == 1 else ""  # one epoch is no line
            axis.plot(epochs, values, color=colour, marker=dot, label=f"{what} photos" if axis is figure.axes[0] else None)
        axis.set_title(name, fontsize=11)
        axis.set_xlabel("epoch")
        axis.set_xlim(0, 1.05 * epochs[-1])
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("accuracy")
    figure.suptitle("Learning curves")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def failures(manifest: list[dataset.Photo], level: str) -> str:
    originals = {photo.file: photo.original for photo in manifest}
    files, labels, probabilities, classes = predicted.read(level, "test")
    said = probabilities.argmax(1)
    lines = []
    for number, kind in enumerate(classes):
        own = labels == number
        taken = Counter(classes[other] for other in said[own & (said != number)])
        wrong = ", ".join(f"{count} taken for {tables.plain(other)}" for other, count in sorted(taken.items())) or "none mistaken"
        lines.append(f"- {tables.plain(kind)}: of {own.sum()} test photos, {wrong}")
    worst = sorted((n for n in range(len(files)) if said[n] != labels[n]), key=lambda n: probabilities[n, labels[n]])[:SHOWN]
    body = (
        [*map(tables.plain, (originals[files[n]], classes[labels[n]], classes[said[n]])), f"{probabilities[n].max():.3f}"]
        for n in worst
    )
    mistakes = tables.markdown(["surest mistakes", "is", "said", "probability"], body) if worst else "No test photo is mistaken."
    return "\n".join(lines) + f"\n\n{mistakes}"
