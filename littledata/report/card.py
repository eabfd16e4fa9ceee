"""The sections of the model card, REPORT.md, and its pictures, metrics/accuracy.svg and metrics/curves.svg.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. The card has no dates: the same run gives the same page.
"""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from littledata.core import tables
from littledata.core.params import leaves
from littledata.pictures import images
from littledata.report.answers import Answer
from littledata.scores import levels
from littledata.splits import dataset

CARD = Path("REPORT.md")
PICTURES = {"accuracy of each level": Path("metrics/accuracy.svg"), "learning curves": Path("metrics/curves.svg")}
CURVES = Path("metrics/curves")
# Okabe and Ito's palette, told apart by every eye; the markers differ as well
BLOG, VALIDATION, TEST, TRAIN = ("#000000", "D"), ("#0072B2", "o"), ("#D55E00", "s"), ("#E69F00", "^")
MISTAKES = 5  # in the table
MADE_SQUARE = {"squash": "squashed", "crop": "cropped", "pad": "padded"}
PANORAMAS = {"squash": "distorts panoramas", "crop": "cuts both ends off panoramas", "pad": "leaves panoramas few pixels"}
REPRODUCE = """\
At this commit, run `make repro` with the same photos, or `make pull` to get the results from the team's remote. `dvc.lock` and
`publish/dvc.lock` hold the digest of everything that went in and came out. `make check-lock` says whether they belong together.
The same params, photos and kind of processor give the same bytes."""


def summary(params, classes: Sequence[str], test: dict, level: str, why: str) -> str:
    """What the classifier reads and answers, how good it is on test photos, and why it is of this level."""
    tuned = "its last blocks fine-tuned" if level == "finetune" else "with a classifier on top"
    crops = params.activations.crops
    side = images.whole(params.image_size, crops)
    return f"""\
The classifier says which of {len(classes)} classes a photo shows. It is {params.backbone}, pretrained on ImageNet, {tuned}.

- Test accuracy: {accuracy(test)}, {test["n"]} photos
- Input: a photo, {MADE_SQUARE[params.fit]} to {side} x {side} px{f", and looked at in {crops} crops" if crops > 1 else ""}
- Output: a probability for every class: {names(classes)}
- File: `models/classifier.onnx`; `predict` runs it

Of levels 2 and 3 it is level {levels.LEVELS[level]}: {why}. The stage `card` of the pipeline writes this page."""


def names(classes: Sequence[str]) -> str:
    return ", ".join(map(tables.plain, classes))


def accuracy(score: dict) -> str:
    """An accuracy with its 95 % interval."""
    return f"{score['accuracy']:.3f} ({score['accuracy_low']:.3f}-{score['accuracy_high']:.3f})"


def data(photos: Sequence[dataset.Photo]) -> str:
    """Where the photos come from, how many of each class are in each split, and what was left out."""
    source = json.loads(Path("data/raw/source.json").read_text())
    counts, splits = Counter((photo.kind, photo.split) for photo in photos), dataset.splits(photos)
    body = ([tables.plain(kind), *(counts[kind, split] for split in splits)] for kind in dataset.class_names(photos))
    pairs = tables.rows("data/duplicates.csv")
    across = sum(file.split("/")[0] != other.split("/")[0] for _, file, _, other, _ in pairs)
    reasons = Counter(reason.partition(":")[0] for *_, reason in tables.rows("data/skipped.csv"))
    notes = [f"{len(pairs)} pairs of near-duplicates among them, {across} across splits (`data/duplicates.csv`)"]
    notes += [f"{count} skipped: {tables.plain(reason)}" for reason, count in sorted(reasons.items())] or ["no photo skipped"]
    left_out = ", ".join(f"{count} {tables.plain(kind)}" for kind, count in source.get("left_out", {}).items())
    notes += [f"left out, as no photos: {left_out}"] if left_out else []
    origin = f"The photos are of the source `{source['source']}`, sha256 `{source['sha256']}`. Terms: {source['terms']}"
    return "\n\n".join([origin, tables.markdown(["class", *splits], body), "\n".join(f"- {note}" for note in notes)])


def results(scores: dict) -> str:
    """The scores of all levels, the pictures, and what to keep in mind with them."""
    body = []
    for level, name in levels.LEVELS.items():
        for split, score in scores[level].items():
            area = "" if score["roc_auc"] is None else f"{score['roc_auc']:.4f}"  # None where all photos are of one class
            body.append([name, split, accuracy(score), f"{score['balanced_accuracy']:.3f}", f"{score['log_loss']:.3f}", area])
    header = ["level", "photos", "accuracy (95 % Wilson interval)", "balanced accuracy", "log loss", "ROC AUC"]
    pictures = (f"![{name}]({path})" for name, path in PICTURES.items())
    remarks = (f"**{remark}**" for remark in levels.remarks(scores))
    honest = "Only training photos trained the levels. Validation photos decided every choice. Test photos were looked at once."
    return "\n\n".join([tables.markdown(header, body), *pictures, *remarks, honest])


def failures(answers: Sequence[Answer], classes: Sequence[str], fit: str) -> str:
    """What each class is mistaken for, and the surest mistakes, by the answers for test photos, the worst first."""
    lines = []
    for kind in classes:
        predicted = Counter(answer.predicted for answer in answers if answer.photo.kind == kind)
        of, _ = predicted.total(), predicted.pop(kind, None)
        taken = ", ".join(f"{count} taken for {tables.plain(other)}" for other, count in sorted(predicted.items()))
        lines.append(f"- {tables.plain(kind)}: of {of} test photos, {taken or 'none mistaken'}")
    body = []
    for photo, said, confidence, _ in (answer for answer in answers[:MISTAKES] if not answer.right):
        body.append([*map(tables.plain, (photo.original, photo.kind, said)), f"{confidence:.3f}"])
    mistakes = tables.markdown(["surest mistakes", "is", "said", "probability"], body) if body else "No test photo is mistaken."
    limits = f"""\
Any picture gets one of the {len(classes)} classes, also one that shows none of them or several. Nobody looked at photos that differ in
kind from those above (drawings, night, close-ups of a part). `fit: {fit}` {PANORAMAS[fit]}."""
    return "\n\n".join(["\n".join(lines), mistakes, limits])


def training(params) -> str:
    """The params of the run."""
    values = {name: json.dumps(value, ensure_ascii=False) for name, value in leaves(params)}
    body = ([f"`{name}`", tables.plain(text) if set("`|") & set(text) else f"`{text}`"] for name, text in values.items())
    sentence = "In three levels, each on top of the one before; see README.md. The params of this run:"
    return f"{sentence}\n\n{tables.markdown(['param', 'value'], body)}"


def draw(scores: dict, classes: Sequence[str]) -> None:
    """Write the card's pictures."""
    with rc_context({"svg.hashsalt": "card"}):  # else ids are drawn anew each time
        for path, figure in zip(PICTURES.values(), (accuracy_picture(scores, classes), curves_picture()), strict=True):
            figure.savefig(path, metadata={"Date": None, "Creator": None})


def accuracy_picture(scores: dict, classes: Sequence[str]) -> Figure:
    """Every level's accuracy with its interval, beside the blog's where the classes are the blog's."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axis = figure.subplots()
    for place, level in enumerate(levels.LEVELS):
        if classes == levels.BLOG_CLASSES:
            (colour, marker), label = BLOG, None if place else "the blog, validation"
            axis.plot(levels.BLOG[level], [place - 0.25] * 2, color=colour, marker=marker, label=label)
        for offset, split, (colour, marker) in ((0, "validation", VALIDATION), (0.25, "test", TEST)):
            score, label = scores[level][split], None if place else f"{split}, with its 95 % interval"
            error = [[score["accuracy"] - score["accuracy_low"]], [score["accuracy_high"] - score["accuracy"]]]
            axis.errorbar(score["accuracy"], place + offset, xerr=error, color=colour, marker=marker, capsize=3, label=label)
    axis.set_yticks(range(len(levels.LEVELS)), list(levels.LEVELS.values()))
    axis.invert_yaxis()
    axis.set(xlabel="accuracy", title="How good each level is")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def curves_picture() -> Figure:
    """Accuracy on training and on validation photos, epoch by epoch. Where the two part, a level learns photos by heart."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axis, (level, name) in zip(figure.subplots(1, 3, sharey=True), levels.LEVELS.items(), strict=True):
        for curve, photos, (colour, marker) in (("accuracy", "training", TRAIN), ("val_accuracy", "validation", VALIDATION)):
            with open(CURVES / level / f"plots/metrics/{curve}.tsv", newline="") as file:
                rows = [(float(row["step"]), float(row[curve])) for row in csv.DictReader(file, delimiter="\t")]
            epochs, values = zip(*rows, strict=True)
            dot, label = marker if len(epochs) == 1 else "", f"{photos} photos" if axis is figure.axes[0] else None
            axis.plot(epochs, values, color=colour, marker=dot, label=label)  # one epoch is no line, but a dot
        axis.set_title(name, fontsize=11)
        axis.set(xlabel="epoch", xlim=(0, 1.05 * epochs[-1]))
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("accuracy")
    figure.suptitle("Learning curves")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
