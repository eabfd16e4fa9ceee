"""What a branch changes: metrics, params, stages, learning curves, confusion, and the photos seen otherwise.

    python -m tools.report main                         # make report BASE=main
    python -m tools.report main --pictures URL          # link there instead of showing the pictures beside it

Compares the workspace with the commit at which the branch left BASE, and writes report/report.md with its pictures.
The same two states give the same bytes: nothing here has a date.
"""

import argparse
import csv
import hashlib
import io
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dvc.api
import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from scipy.stats import binomtest

from stages.lib.errors import UserError
from tools import lock, table

REPORT = Path("report")
METRICS, PREDICTIONS, PHOTOS = "metrics/metrics.json", "data/predictions.csv", "data/photos"
SPLITS = ("validation", "test")
BEFORE, AFTER = "#D55E00", "#0072B2"  # vermillion and blue of Okabe and Ito's palette, told apart by every eye
SHOWN = 20  # changed photos a level; GitHub takes 65,536 characters a comment

Predictions = dict[tuple[str, str], tuple[str, str, float]]  # (level, file): actual class, predicted class, probability


def base_commit(base: str) -> str:
    """The commit at which the branch left `base`, shortened."""
    found = subprocess.run(["git", "merge-base", base, "HEAD"], capture_output=True, text=True)
    if found.returncode:
        raise UserError(f"{base} is no commit that shares history with HEAD: `git fetch` it, or give another BASE.")
    return found.stdout[:7]


def text(path: str, commit: str | None) -> str | None:
    """A tracked file in a commit, or for None in the workspace; None if it isn't there."""
    if commit is None:
        return Path(path).read_text() if Path(path).exists() else None
    shown = subprocess.run(["git", "show", f"{commit}:./{path}"], capture_output=True, text=True)
    return None if shown.returncode else shown.stdout


def rows(path: str, commit: str | None) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(path, commit) or "")))


def diff(kind: str, *arguments: str) -> dict:
    """`dvc metrics diff` or `dvc params diff`: {name: {"old": ..., "new": ...}} of the one file they look at."""
    command = [sys.executable, "-m", "dvc", kind, "diff", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"`dvc {kind} diff` failed: {done.stderr.strip().splitlines()[-1]}")
    return next(iter(json.loads(done.stdout).values()), {})


def stages(commit: str | None) -> dict[str, dict[str, object]]:
    """Every stage's flat lock entry."""
    return {stage: lock.entries(entry) for stage, entry in lock.load(text(str(lock.LOCK), commit)).items()}


def predictions(commit: str | None) -> Predictions | None:
    """Every photo's predicted class as the lock means it, from the workspace, DVC's cache or a remote; None if
    none of them has it."""
    try:
        content = dvc.api.read(PREDICTIONS, rev=commit)
    except Exception:  # each kind of remote raises its own, and the report does without
        return None
    if hashlib.md5(content.encode()).hexdigest() != stages(commit).get("evaluate", {}).get(PREDICTIONS):
        return None
    found = {}
    for row in csv.DictReader(io.StringIO(content)):
        classes = {name.removeprefix("probability_"): float(row[name]) for name in row if name.startswith("probability_")}
        best = max(classes, key=classes.get)
        found[row["level"], row["file"]] = row["class"], best, classes[best]
    return found


def same_photos(commit: str) -> bool:
    """Whether both sides drew the same photos: a file's name says only where it stands in its draw."""
    before, after = (stages(side).get("subsample", {}).get(PHOTOS) for side in (commit, None))
    return before is not None and before == after


def beyond_chance(before: dict, after: dict, pairs: list[tuple[bool, bool]]) -> str:
    """Whether an accuracy changed by more than chance does, in words.

    Parameters
    ----------
    before, after : dict
        The scores of one level on one split.
    pairs : list of (bool, bool)
        Whether each photo was right before and is right after, where that is known. Then it is McNemar's exact test
        (Psychometrika 12, 1947), which looks only at photos that changed sides; else whether the intervals overlap.
    """
    if pairs:
        won, lost = pairs.count((False, True)), pairs.count((True, False))
        p = binomtest(won, won + lost).pvalue if won + lost else 1.0
        return f"{'yes' if p < 0.05 else 'no'}: {won} won, {lost} lost, p = {p:.2g}"
    apart = before["accuracy_high"] < after["accuracy_low"] or after["accuracy_high"] < before["accuracy_low"]
    return "yes: the intervals are apart" if apart else "no: the intervals overlap"


def markdown(header: list[str], lines: list[list]) -> str:
    cells = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in cells)


def metrics_table(commit: str, before: Predictions | None, after: Predictions | None) -> str:
    changed = diff("metrics", "--all", commit, "--targets", METRICS)
    lines = []
    for level, (name, _) in table.LEVELS.items():
        for split in SPLITS:
            scores = [
                {key.split(".")[-1]: value[side] for key, value in changed.items() if key.startswith(f"{level}.{split}.")}
                for side in ("old", "new")
            ]
            if not all(side.get("accuracy") is not None for side in scores):
                lines.append([name, split, *(table.cell(s) if s.get("accuracy") else "-" for s in scores), *"----"])
                continue
            pairs = []
            if before and after:
                mine = [key for key in before.keys() & after.keys() if key[0] == level and key[1].startswith(f"{split}/")]
                pairs = [tuple(side[key][0] == side[key][1] for side in (before, after)) for key in mine]
            points = 100 * (scores[1]["accuracy"] - scores[0]["accuracy"])
            others = [" to ".join(f"{side[key]:.4f}" for side in scores) for key in ("log_loss", "roc_auc")]
            verdict = beyond_chance(*scores, pairs)
            lines.append([name, split, *map(table.cell, scores), f"{points:+.2f}", verdict, *others])
    header = ["level", "split", "accuracy before", "after", "points", "beyond chance?", "log loss", "ROC AUC"]
    return markdown(header, lines)


def params_table(commit: str) -> str:
    changed = diff("params", commit)
    return markdown(["param", "before", "after"], [[n, v["old"], v["new"]] for n, v in sorted(changed.items())])


def stages_table(commit: str) -> str:
    """The stages whose lock entry changed, and in what."""
    before, after = stages(commit), stages(None)
    lines = []
    for stage in sorted(before.keys() | after.keys()):
        old, new = before.get(stage, {}), after.get(stage, {})
        if names := sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key)):
            lines.append([stage, "new" if not old else "gone" if not new else ", ".join(f"`{name}`" for name in names)])
    return markdown(["stage", "what changed in its lock entry"], lines)


def photos_tables(before: Predictions, after: Predictions) -> str:
    """The photos that a level puts into another class than before, test photos first."""
    parts = []
    for level, (name, _) in table.LEVELS.items():
        keys = sorted((key for key in before.keys() & after.keys() if key[0] == level), key=lambda key: key[1])
        changed = [key for key in keys if before[key][1] != after[key][1]]
        lines = [
            [key[1], before[key][0], *("{1} ({2:.2f})".format(*side[key]) for side in (before, after))]
            for key in changed[:SHOWN]
        ]
        parts.append(f"**{name}**: {len(changed)} of {len(keys)} photos")
        if lines:
            parts.append(markdown(["photo", "actual", "before", "after"], lines))
        if len(changed) > SHOWN:
            parts.append(f"... and {len(changed) - SHOWN} more.")
    return "\n\n".join(parts)


def curves(commit: str) -> Figure:
    """Accuracy and loss by epoch, a column a level."""
    figure, axes = plt.subplots(2, len(table.LEVELS), figsize=(12, 6.5), layout="constrained", squeeze=False)
    for column, (level, (name, _)) in enumerate(table.LEVELS.items()):
        for row, quantity in enumerate(("accuracy", "loss")):
            axis = axes[row, column]
            for when, side, colour in (("before", commit, BEFORE), ("after", None, AFTER)):
                epochs = rows(f"metrics/curves/{level}.csv", side)
                marker = "o" if len(epochs) < 3 else None  # one epoch is no line
                for key, style, label in ((f"val_{quantity}", "-", "validation"), (quantity, ":", "training")):
                    x, y = ([float(epoch[k]) for epoch in epochs] for k in ("epoch", key))
                    axis.plot(x, y, style, color=colour, marker=marker, mfc="none" if style == ":" else None,
                              label=f"{label}, {when}")  # fmt: skip
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set(title=name if row == 0 else "", xlabel="epoch", ylabel=quantity)
            axis.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def confusion(commit: str) -> Figure:
    """Test photos by actual and predicted class, a column a level, before above after."""
    figure, axes = plt.subplots(2, len(table.LEVELS), figsize=(12, 7.5), layout="constrained", squeeze=False)
    for row, (when, side) in enumerate((("before", commit), ("after", None))):
        for column, (level, (name, _)) in enumerate(table.LEVELS.items()):
            counts = Counter((photo["actual"], photo["predicted"]) for photo in rows(f"metrics/confusion/{level}.csv", side))
            classes = sorted({name for pair in counts for name in pair})
            shares = [[counts[a, p] / sum(counts[a, q] for q in classes) for p in classes] for a in classes]
            axis = axes[row, column]
            if shares:
                axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
            for y, actual in enumerate(classes):
                for x, predicted in enumerate(classes):
                    colour = "black" if shares[y][x] > 0.5 else "white"
                    label = f"{counts[actual, predicted]}\n{shares[y][x]:.1%}"
                    axis.text(x, y, label, ha="center", va="center", color=colour)
            axis.set(title=f"{name}, {when}", xlabel="predicted", ylabel="actual")
            axis.set(xticks=range(len(classes)), yticks=range(len(classes)), xticklabels=classes, yticklabels=classes)
    return figure


def write(commit: str, base: str, pictures: str | None) -> str:
    """Draw the pictures and return the report."""
    before, after = (predictions(commit), predictions(None)) if same_photos(commit) else (None, None)
    here = "The lock belongs to params, code and metrics." if not (lines := lock.differences()) else "\n".join(
        ["**dvc.lock does not belong to what is in git:**", "", *(f"- {line}" for line in lines)]
    )  # fmt: skip
    parts = [f"# This branch against {base} ({commit})", here, "## Metrics", metrics_table(commit, before, after)]
    parts.append(
        "In brackets 95 % Wilson intervals. Beyond chance: McNemar's exact test on the same photos at p < 0.05, or else "
        "intervals that don't overlap, which misses small changes. Of six changes by chance one in four times one passes."
    )
    for title, part in (("Params", params_table(commit)), ("Stages", stages_table(commit))):
        parts += [f"## {title}", part if part.count("\n") > 1 else "No change."]
    REPORT.mkdir(exist_ok=True)
    for title, draw in (("Learning curves", curves), ("Confusion on test photos", confusion)):
        name = f"{draw.__name__}.png"
        draw(commit).savefig(REPORT / name, dpi=100)
        parts += [f"## {title}", f"[{name}]({pictures})" if pictures else f"![{title} before and after]({name})"]
    parts.append("## Photos whose prediction changed")
    if not same_photos(commit):
        parts.append("The two sides drew different photos: no photo can be compared with itself.")
    elif not (before and after):
        where = " and ".join(name for name, side in ((base, before), ("this branch", after)) if not side)
        parts.append(f"`{PREDICTIONS}` of {where} is neither here nor in DVC's cache or remote.")
    else:
        parts.append(photos_tables(before, after))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="branch, tag or commit to compare with")
    parser.add_argument("--pictures", metavar="URL", help="where the pictures will be")
    options = parser.parse_args()
    matplotlib.use("agg")
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    report = write(base_commit(options.base), options.base, options.pictures)
    (REPORT / "report.md").write_text(report)
    print(f"{REPORT / 'report.md'} with {', '.join(sorted(path.name for path in REPORT.glob('*.png')))}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
