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
from pathlib import Path
from typing import NamedTuple

import dvc.api
import matplotlib.pyplot as plt
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from ruamel.yaml import YAML
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

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


class Prediction(NamedTuple):
    """What a level predicted of a photo: its class, the most probable one, and how probable."""

    file: str
    actual: str
    predicted: str
    probability: float


Predictions = dict[tuple[str, str], dict[str, Prediction]]  # (level, split) to a photo's sha256 to what was predicted of it


def left(base: str) -> str:
    """Find the commit at which this branch left `base`."""
    done = subprocess.run(["git", "merge-base", base, "HEAD"], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{base} is not a commit that shares history with HEAD: `git fetch` it, or give another BASE.")
    return done.stdout.strip()


def rows(content: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content), delimiter=delimiter))


def predictions(commit: str | None) -> Predictions | None:
    """Read what `evaluate` predicted of which photo, from the workspace, DVC's cache or its remote; None where that is not in reach.
    A photo is known by its sha256: a file's name may say where it stood in its draw."""
    locked = {path: md5 for entry in commits.locked(commit).values() for path, md5 in lockfile.outs(entry).items()}
    contents = {}
    for path in PREDICTIONS, MANIFEST:
        try:
            contents[path] = dvc.api.read(path, rev=commit)
        except Exception:  # each kind of remote raises its own, and the report does without
            return None
        if hashlib.md5(contents[path].encode()).hexdigest() != locked.get(path):
            return None
    sha256 = {row["file"]: row["sha256"] for row in rows(contents[MANIFEST])}
    by_level: Predictions = {}
    for row in rows(contents[PREDICTIONS]):
        best = max(list(row)[3:], key=lambda name: float(row[name]))
        file, split = row["file"], row["file"].split("/")[0]
        if file in sha256:
            of_split = by_level.setdefault((row["level"], split), {})
            of_split[sha256[file]] = Prediction(file, row["class"], best.removeprefix("probability_"), float(row[best]))
    return by_level


def both(
    before: Predictions | None, after: Predictions | None, level: str, split: str
) -> tuple[list[tuple[Prediction, Prediction]], str]:
    """Pair what was predicted before and after of each photo that both sides have in a split; and say which photos these are, where
    either side has others as well."""
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
    lines = []
    sides = [commits.scores(side) for side in (commit, None)]
    for (level, name), split in itertools.product(levels.LEVELS.items(), SPLITS):
        old, new = (scores.get(level, {}).get(split) for scores in sides)
        cells = [table.cell(scores) if scores else "-" for scores in (old, new)]
        more = ["-"] * 4
        if old and new:
            pairs, photos = both(before, after, level, split)
            verdict = beyond_chance(old, new, [(was.predicted == was.actual, now.predicted == now.actual) for was, now in pairs])
            more = [f"{100 * (new['accuracy'] - old['accuracy']):+.2f}", f"{verdict}, on {photos}" if pairs and photos else verdict]
            more += [f"{digits(old[score])} to {digits(new[score])}" for score in ("log_loss", "roc_auc")]
        lines.append([name, split, *cells, *more])
    header = ["level", "split", "accuracy before", "after", "points", "beyond chance?", "log loss", "ROC AUC"]
    return markdown(header, lines)


def changed(before: dict, after: dict) -> list[str]:
    """List the keys that one of two mappings lacks, or whose values differ."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def params_table(commit: str) -> str:
    load = YAML(typ="safe", pure=True).load
    old, new = (dict(leaves(load(commits.text(params.PARAMS, side)) or {})) for side in (commit, None))
    lines = [[name, tables.plain(old.get(name)), tables.plain(new.get(name))] for name in changed(old, new)]
    return markdown(["param", "before", "after"], lines)


def stages_table(commit: str) -> str:
    """The stages whose lock entry changed, and in what."""
    old, new = ({name: lockfile.entries(entry) for name, entry in commits.locked(side).items()} for side in (commit, None))
    lines = []
    for stage in changed(old, new):
        names = ", ".join(f"`{name}`" for name in changed(old.get(stage, {}), new.get(stage, {})))
        lines.append([stage, "new" if stage not in old else "gone" if stage not in new else names])
    return markdown(["stage", "what changed in its lock entry"], lines)


def photos_tables(before: Predictions, after: Predictions) -> str:
    """The photos that a level puts into another class than before, among those that both sides have."""
    parts = []
    for level, split in before:
        pairs, photos = both(before, after, level, split)
        others = sorted((now.file, was, now) for was, now in pairs if was.predicted != now.predicted)
        lines = [
            [*map(tables.plain, (file, now.actual, *(f"{side.predicted} ({side.probability:.2f})" for side in (was, now))))]
            for file, was, now in others[:SHOWN]
        ]
        shown = f", the first {SHOWN} of them" if len(others) > SHOWN else ""
        parts.append(f"{levels.LEVELS[level]}, {split}: {len(others)} of {photos or f'{len(pairs)} photos'}{shown}")
        if lines:
            parts.append(markdown(["photo", "actual", "predicted before", "after"], lines))
    return "\n\n".join(parts)


def curves(commit: str) -> Figure:
    """Accuracy and loss by epoch, a column a level. What was before is a broad band, so that both show where equal."""
    figure, axes = plt.subplots(2, len(levels.LEVELS), figsize=(12, 6.5), layout="constrained")
    looks = {
        "before": (commit, {"color": BEFORE, "linewidth": 4, "markersize": 10, "alpha": 0.5}),
        "after": (None, {"color": AFTER, "linewidth": 1.5, "markersize": 5}),
    }
    for axis, ((level, name), quantity) in zip(axes.T.flat, itertools.product(levels.LEVELS.items(), ("accuracy", "loss"))):
        for when, (side, look) in looks.items():
            for key, style, label in ((f"val_{quantity}", "o-", "validation"), (quantity, "s--", "training")):
                epochs = rows(commits.text(f"metrics/curves/{level}/plots/metrics/{key}.tsv", side), "\t")
                x, y = ([float(epoch[column]) for epoch in epochs] for column in ("step", key))
                # A mark on the last epoch, which is all of a line of one.
                axis.plot(x, y, style, label=f"{label}, {when}", markevery=[-1] if x else None, **look)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set(title=f"{name}: {quantity}", xlabel="epoch", ylabel=quantity)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def confusion(commit: str) -> Figure:
    """Test photos by actual and predicted class, a column a level, before above after; coloured by share of a row.
    With more than `NAMED` classes the colours alone."""
    figure, axes = plt.subplots(2, len(levels.LEVELS), figsize=(12, 7.5), layout="constrained")
    sides = itertools.product({"before": commit, "after": None}.items(), levels.LEVELS.items())
    for axis, ((when, side), (level, name)) in zip(axes.flat, sides):
        photos = rows(commits.text(f"metrics/confusion/{level}.csv", side))
        if photos:
            pairs = [[photo[key] for photo in photos] for key in ("actual", "predicted")]
            counts, shares = (confusion_matrix(*pairs, normalize=normalize) for normalize in (None, "true"))
            classes = sorted({*pairs[0], *pairs[1]})
            named = len(classes) <= NAMED
            look = {"include_values": named, "cmap": "cividis", "colorbar": False, "im_kw": {"vmin": 0, "vmax": 1}}
            drawn = ConfusionMatrixDisplay(shares, display_labels=classes).plot(ax=axis, **look)
            for cell, count, share in zip(drawn.text_.flat if named else [], counts.flat, shares.flat):
                cell.set_text(f"{count}\n{share:.1%}")
        axis.set(title=f"{name}, {when}{'' if photos else ': none'}", xlabel="predicted", ylabel="actual")
        if not photos or not named:
            axis.set(xticks=[], yticks=[])
    return figure


def write(base: str) -> str:
    """Draw the pictures and return the report."""
    commit = left(base)
    before, after = predictions(commit), predictions(None)
    missing = " and ".join(name for name, side in ((base, before), ("this branch", after)) if not side)
    photos = f"`{PREDICTIONS}` or `{MANIFEST}` of {missing} is neither here nor in DVC's cache or remote."
    if before and after:
        shared = any(both(before, after, *of)[0] for of in before)
        photos = photos_tables(before, after) if shared else "The two don't share a photo: none can be compared with itself."
    REPORT.mkdir(exist_ok=True)
    for draw in (curves, confusion):
        draw(commit).savefig(REPORT / f"{draw.__name__}.png", dpi=100)
    wrong = "".join(f"\n- {line}" for line in lock.differences())
    sections = {
        "Metrics": f"{metrics_table(commit, before, after)}\n\n{NOTE}",
        "Params": params_table(commit),
        "Stages": stages_table(commit),
        "Learning curves": "![Learning curves before and after](curves.png)",
        "Confusion on test photos": "![Confusion before and after](confusion.png)",
        "Photos whose prediction changed": photos,
    }
    verdict = (
        f"**dvc.lock does not belong to what is in git:**{wrong}" if wrong else "dvc.lock belongs to params, code and metrics."
    )
    head = f"# This branch against {base} at {commit[:7]}\n\n{verdict}\n"
    return head + "".join(f"\n## {heading}\n\n{text}\n" for heading, text in sections.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", help="branch, tag or commit that this branch left")
    plt.switch_backend("agg")  # draw into files, also where there is a screen
    (REPORT / "report.md").write_text(write(parser.parse_args().base), encoding="utf-8")
    print(f"{REPORT}/report.md, curves.png, confusion.png")


if __name__ == "__main__":
    command.start(main)
