"""The blog's three levels, what it reports of them, and which of them is handed out."""

from pathlib import Path

from littledata.core import tables

LEVELS = {"small_cnn": "1 small convnet", "top": "2 bottleneck features", "finetune": "3 fine-tuning"}
BLOG = {"small_cnn": (0.79, 0.81), "top": (0.90, 0.91), "finetune": (0.94, 0.94)}  # validation accuracy, from and to
BLOG_CLASSES = ["cat", "dog"]  # of other photos its figures say nothing
LEAST = 0.0005  # of log loss: the same answers, rounded in other places, differ by less
WIDE = 0.1  # an interval of an accuracy that says little
CHOICE = Path("metrics/choice.csv")


def handed_out(path: Path = CHOICE) -> tuple[str, str]:
    """The level that the stage `choose` chose, and why."""
    return next((key, why) for key, *_, why in tables.rows(path) if why)


def remarks(scores: dict) -> list[str]:
    """What a table of `scores[level][split]` shows only to those who know how to read it."""
    remarks = []
    two, three = (scores[level]["validation"]["log_loss"] for level in ("top", "finetune"))
    if three > two - LEAST:
        remarks.append(
            f"Fine-tuning won nothing: on validation photos level 3's log loss is not lower than level 2's by {LEAST} or more."
        )
    each = [
        (score["accuracy_high"] - score["accuracy_low"], level, split) for level in scores for split, score in scores[level].items()
    ]
    width, level, split = max(each, key=lambda one: one[0])
    if width > WIDE:
        remarks.append(
            f"Few photos: the interval of level {LEVELS[level][0]}'s {split} accuracy is {width:.2f} wide. For your own photos "
            "`make sets SETS=folder` tests every one of them once."
        )
    return remarks
