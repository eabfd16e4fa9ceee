"""What a branch changes: metrics, params, stages, learning curves, confusion, and the photos it sees otherwise.

    python -m tools.report main         # make report BASE=main

Compares the workspace with the commit at which the branch left BASE, and writes report/report.md with its pictures.
The same two states give the same report: it has no dates.
"""

import argparse
import csv
import hashlib
import io
import itertools
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import dvc.api
import matplotlib.pyplot as plt
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from ruamel.yaml import YAML

from littledata.core import command, lockfile, params, tables
from littledata.core.errors import UserError
from littledata.core.params import leaves
from littledata.scores import levels, metrics
from tools import commits, lock, table

rcParams["text.parse_math"] = False  # a $ in a class' name is no formula
REPORT = Path("report")
PREDICTIONS, MANIFEST = "data/predictions.csv", "data/manifest.csv"
SPLITS = ("validation", "test")
BEFORE, AFTER = "#D55E00", "#0072B2"  # vermillion and blue of Okabe and Ito's palette, told apart by every eye
# one line: GitHub breaks a comment where its text breaks
NOTE = (
    "In brackets the 95 % Wilson interval. Beyond chance is p < 0.05 in McNemar's exact test on the photos that both have, or, "
    "without both sides' predictions, intervals that don't overlap, which misses small changes. Of six tests one passes "
    "by chance in up to a quarter of reports."
)
NAMED = 20  # classes: more names and numbers than these can't be read, and take minutes to draw
SHOWN = 20  # changed photos a level and split: a comment on GitHub takes 65,536 characters


class Said(NamedTuple):
    """What a level said of a photo: its class, the most probable one, and how probable."""

    file: str
    actual: str
    predicted: str
    probability: float

    @property
    def right(self) -> bool:
        return self.actual == self.predicted


Predictions = dict[tuple[str, str], dict[str, Said]]  # (level, split) to a photo's sha256 to what was said of it


def left(base: str) -> str:
    """The commit at which this branch left `base`."""
    found = subprocess.run(["git", "merge-base", base, "HEAD"], capture_output=True, text=True)
    if found.returncode:
        raise UserError(f"{base} is not a commit that shares history with HEAD: `git fetch` it, or give another BASE.")
    return found.stdout.strip()


def rows(content: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content), delimiter=delimiter))


def stages(commit: str | None) -> dict[str, dict[str, object]]:
    """Every stage's lock entry, laid flat."""
    return {stage: lockfile.entries(entry) for stage, entry in commits.locked(commit).items()}


def cached(commit: str | None, stage: str, path: str) -> str | None:
    """What a stage wrote, by its md5 in the lock, from the workspace, DVC's cache or remote; None if it isn't there."""
    try:
        content = dvc.api.read(path, rev=commit)
    except Exception:  # each kind of remote raises its own, and the report does without
        return None
    return content if hashlib.md5(content.encode()).hexdigest() == stages(commit).get(stage, {}).get(path) else None


def predictions(commit: str | None) -> Predictions | None:
    """What `evaluate` predicted of which photo; None if that isn't there. A photo is known by its sha256: a file's name may say
    where it stood in its draw."""
    predicted, manifest = cached(commit, "evaluate", PREDICTIONS), cached(commit, "subsample", MANIFEST)
    if predicted is None or manifest is None:
        return None
    sha256 = {row["file"]: row["sha256"] for row in rows(manifest)}
    found: Predictions = {}
    for row in rows(predicted):
        probabilities = {name.removeprefix("probability_"): float(row[name]) for name in list(row)[3:]}
        best = max(probabilities, key=probabilities.get)
        split, file = row["file"].split("/")[0], row["file"]
        if file in sha256:
            found.setdefault((row["level"], split), {})[sha256[file]] = Said(file, row["class"], best, probabilities[best])
    return found


def both(before: Predictions | None, after: Predictions | None, level: str, split: str) -> tuple[list[tuple[Said, Said]], str]:
    """What was said before and after of each photo that both sides have in a split; and in words which these are, where either
    side has others as well."""
    was, now = ((side or {}).get((level, split), {}) for side in (before, after))
    pairs = [(was[sha256], now[sha256]) for sha256 in was if sha256 in now]
    return pairs, "" if len(was) == len(now) == len(pairs) else f"the {len(pairs)} {split} photos that both have"


def beyond_chance(before: dict, after: dict, pairs: list[tuple[bool, bool]]) -> str:
    """Whether an accuracy changed by more than chance does, in words.

    Parameters
    ----------
    before, after : dict
        The scores of one level on one split.
    pairs : list of (bool, bool)
        Whether each photo was right before and is right after, where that is known. Then it is McNemar's exact test,
        which asks only the photos that changed sides; else whether the intervals overlap.
    """
    if pairs:
        won, lost = pairs.count((False, True)), pairs.count((True, False))
        p = metrics.mcnemar(won, lost)
        return f"{'yes' if p < 0.05 else 'no'}: {won} won, {lost} lost, p = {p:.2g}"
    apart = before["accuracy_high"] < after["accuracy_low"] or after["accuracy_high"] < before["accuracy_low"]
    return "yes: the intervals are apart" if apart else "no: the intervals overlap"


def markdown(header: list[str], lines: list[list]) -> str:
    """A table, or a line that says there is nothing to put into one."""
    return tables.markdown(header, lines) if lines else "No change."


def digits(score: float | None) -> str:
    """A score with four digits; "-" for one that could not be computed."""
    return "-" if score is None else f"{score:.4f}"


def metrics_table(commit: str, before: Predictions | None, after: Predictions | None) -> str:
    were, are = commits.scores(commit), commits.scores(None)
    lines = []
    for level, name in levels.LEVELS.items():
        for split in SPLITS:
            old, new = (side.get(level, {}).get(split) for side in (were, are))
            if not old or not new:
                lines.append([name, split, *(table.cell(side) if side else "-" for side in (old, new)), *["-"] * 4])
                continue
            pairs, those = both(before, after, level, split)
            verdict = beyond_chance(old, new, [(was.right, now.right) for was, now in pairs])
            line = [name, split, table.cell(old), table.cell(new), f"{100 * (new['accuracy'] - old['accuracy']):+.2f}"]
            line += [f"{verdict}, on {those}" if pairs and those else verdict]
            lines.append(line + [" to ".join(map(digits, (old[score], new[score]))) for score in ("log_loss", "roc_auc")])
    header = ["level", "split", "accuracy before", "after", "points", "beyond chance?", "log loss", "ROC AUC"]
    return markdown(header, lines)


def params_table(commit: str) -> str:
    load = YAML(typ="safe", pure=True).load
    were, are = (dict(leaves(load(commits.text(params.PARAMS, side)) or {})) for side in (commit, None))
    changed = [name for name in sorted(were.keys() | are.keys()) if were.get(name) != are.get(name)]
    lines = [[name, tables.plain(were.get(name)), tables.plain(are.get(name))] for name in changed]
    return markdown(["param", "before", "after"], lines)


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
    """The photos that a level puts into another class than before, among those that both sides have."""
    parts = []
    for level, split in before:
        pairs, those = both(before, after, level, split)
        changed = sorted((now.file, was, now) for was, now in pairs if was.predicted != now.predicted)
        lines = [
            [*map(tables.plain, (file, now.actual, *(f"{said.predicted} ({said.probability:.2f})" for said in (was, now))))]
            for file, was, now in changed[:SHOWN]
        ]
        shown = f", the first {SHOWN} of them" if len(changed) > SHOWN else ""
        parts.append(f"{levels.LEVELS[level]}, {split}: {len(changed)} of {those or f'{len(pairs)} photos'}{shown}")
        if lines:
            parts.append(markdown(["photo", "actual", "predicted before", "after"], lines))
    return "\n\n".join(parts)


def curves(commit: str) -> Figure:
    """Accuracy and loss by epoch, a column a level. What was before is a broad band, so that both show where equal."""
    figure, axes = plt.subplots(2, len(levels.LEVELS), figsize=(12, 6.5), layout="constrained")
    for column, (level, name) in enumerate(levels.LEVELS.items()):
        for axis, quantity in zip(axes[:, column], ("accuracy", "loss")):
            for when, side, look in (
                ("before", commit, {"color": BEFORE, "linewidth": 4, "markersize": 10, "alpha": 0.5}),
                ("after", None, {"color": AFTER, "linewidth": 1.5, "markersize": 5}),
            ):
                for key, style, label in ((f"val_{quantity}", "o-", "validation"), (quantity, "s--", "training")):
                    epochs = rows(commits.text(f"metrics/curves/{level}/plots/metrics/{key}.tsv", side), "\t")
                    x, y = ([float(epoch[column]) for epoch in epochs] for column in ("step", key))
                    look["markevery"] = [-1] if x else None  # the last epoch, which is all of a line of one
                    axis.plot(x, y, style, label=f"{label}, {when}", **look)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axis.set(title=f"{name}: {quantity}", xlabel="epoch", ylabel=quantity)
            axis.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def confusion(commit: str) -> Figure:
    """Test photos by actual and predicted class, a column a level, before above after; coloured by share of a row.
    With more than `NAMED` classes the colours alone."""
    figure, axes = plt.subplots(2, len(levels.LEVELS), figsize=(12, 7.5), layout="constrained")
    for row, (when, side) in enumerate((("before", commit), ("after", None))):
        for axis, (level, name) in zip(axes[row], levels.LEVELS.items()):
            photos = rows(commits.text(f"metrics/confusion/{level}.csv", side))
            counts = Counter((photo["actual"], photo["predicted"]) for photo in photos)
            classes = sorted({kind for pair in counts for kind in pair})
            axis.set(title=f"{name}, {when}{'' if counts else ': none'}", xlabel="predicted", ylabel="actual")
            named = classes if len(classes) <= NAMED else []
            axis.set(xticks=range(len(named)), yticks=range(len(named)), xticklabels=named, yticklabels=named)
            actual = Counter(photo["actual"] for photo in photos)
            shares = [[counts[a, p] / max(actual[a], 1) for p in classes] for a in classes]
            if shares:
                axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
            for y, x in itertools.product(range(len(named)), repeat=2):
                label, colour = f"{counts[classes[y], classes[x]]}\n{shares[y][x]:.1%}", "wk"[shares[y][x] > 0.5]
                axis.text(x, y, label, ha="center", va="center", color=colour)
    return figure


def write(base: str) -> str:
    """Draw the pictures and return the report."""
    commit = left(base)
    before, after = predictions(commit), predictions(None)
    if before and after and not any(both(before, after, *of)[0] for of in before):
        photos = "The two don't share a photo: none can be compared with itself."
    elif before and after:
        photos = photos_tables(before, after)
    else:
        missing = " and ".join(name for name, side in ((base, before), ("this branch", after)) if not side)
        photos = f"`{PREDICTIONS}` or `{MANIFEST}` of {missing} is neither here nor in DVC's cache or remote."
    REPORT.mkdir(exist_ok=True)
    for draw in (curves, confusion):
        draw(commit).savefig(REPORT / f"{draw.__name__}.png", dpi=100)
    wrong = "".join(f"\n- {line}" for line in lock.differences())
    return f"""# This branch against {base} at {commit[:7]}

{f"**dvc.lock does not belong to what is in git:**{wrong}" if wrong else "dvc.lock belongs to params, code and metrics."}

## Metrics

{metrics_table(commit, before, after)}

{NOTE}

## Params

{params_table(commit)}

## Stages

{stages_table(commit)}

## Learning curves

![Learning curves before and after](curves.png)

## Confusion on test photos

![Confusion before and after](confusion.png)

## Photos whose prediction changed

{photos}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="branch, tag or commit that this branch left")
    plt.switch_backend("agg")  # draw into files, also where there is a screen
    report = write(parser.parse_args().base)
    (REPORT / "report.md").write_text(report, encoding="utf-8")
    print(f"{REPORT}/report.md, curves.png, confusion.png")


if __name__ == "__main__":
    command.start(main)
