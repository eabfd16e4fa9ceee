"""A recipe on other people's photos: levels 2 and 3 on any number of sets, every photo tested once. `make sets`

    make sets SETS="a.zip b/"
    python -m studies.sets a.zip b/ --recipe accurate --to /tmp/sets.json
    python -m studies.sets a.zip finetune.lr=1e-4 --folds 1 2      # two of the five folds
    python -m studies.sets --show studies/results/sets.json                # what a file holds; runs nothing

Each set has a copy of the workspace under .cache/sets, in which the stages run; level 1 is left out. Five folds, whose test parts
are disjoint: in each one part tests, another validates, three train. Splits that folders give are set aside. Frozen layers come
from the memo. Writes studies/results/sets.json, or studies/results/sets_<recipe>.json, fold by fold, each set with the params that it was measured
with; what the file has of other sets stays. For each level: accuracy (Wilson's interval), balanced accuracy and log loss
(percentiles of 1,000 bootstrap samples of the tested photos), fold by fold as well. For level 3: the photos won and lost against
level 2, the difference of the accuracies with its interval, McNemar's p, photo-steps, seconds, and in how many runs it ended where
it began. And for each way to choose the better level by validation photos, how much test accuracy it loses against the better one
of each fold.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from littledata.core import command, files, params, tables
from littledata.core.errors import UserError
from littledata.photos import listing
from littledata.scores import metrics, temperature
from littledata.splits import dataset
from tools import recipe, repro

SETS = Path("studies/results/sets.json")
COPIES = Path(".cache/sets")
STAGES = ("download", "pretrained", "subsample", "activations", "bottleneck", "top", "finetune")
ONCE = STAGES[:2]  # no fold changes them
LEVELS = ("top", "finetune")
FOLDS = 5
PARTS = {"train": 0.6, "validation": 0.2, "test": 0.2}
OTHERWISE = ("download", "subsample", "small_cnn", "export")  # params that say nothing of what is measured
SAMPLES = 1000
SAME = 1e-4  # probabilities that differ by less are the same answers, rounded in other places
CRITERIA: dict[str, Callable[[dict, np.ndarray], str]] = {
    "log loss": lambda said, labels: min(LEVELS, key=lambda level: temperature.losses(labels, said[level]).mean()),
    "accuracy, then log loss": lambda said, labels: min(
        LEVELS, key=lambda level: (np.mean(said[level].argmax(1) != labels), temperature.losses(labels, said[level]).mean())
    ),
    "always level 3": lambda said, labels: "finetune",
    "always level 2": lambda said, labels: "top",
}


def workspace(folder: Path) -> Path:
    """Copy the tracked files as they are here into a folder, which is empty or not there. Downloads and the memo are the project's
    own."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, check=True, text=True)
    for file in map(Path, filter(None, listed.stdout.split("\0"))):
        if file.is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, folder / file)
    (folder / ".cache").mkdir()
    for shared in "downloads", "memo":
        own = Path(".cache", shared).absolute()
        own.mkdir(parents=True, exist_ok=True)
        (folder / ".cache" / shared).symlink_to(own, target_is_directory=True)
    return folder


def located(given: Sequence[str]) -> dict[str, Path]:
    """The place of each set, by its name: a zip's without its ending, a folder's as it is; the whole path where two are alike.

    Raises
    ------
    UserError
        Where one is no folder or zip that is here.
    """
    if elsewhere := next((one for one in given if "://" in one), None):
        raise UserError(f"{elsewhere}: a set is a folder or a zip that is here.")
    places = [Path(os.path.expanduser(one)).absolute() for one in dict.fromkeys(given)]
    if missing := next((place for place in places if not place.exists()), None):
        raise UserError(f"There is no {missing}: name folders of class folders, or zips of them.")
    for place in places:
        listing.own_photos(str(place))  # whether it may be read
    called = [place.resolve() if place.name == ".." else place for place in places]
    names = [place.name if place.is_dir() else place.stem for place in called]
    times = Counter(names)
    return {str(place) if times[name] > 1 else name: place for name, place in zip(names, places)}


def write_params(folder: Path, settings: Mapping, path: Path, fold: int) -> None:
    """Write a copy's params.yaml: those of the recipe, on a fold of own photos."""
    settings = {
        **settings,
        "download": {**settings["download"], "source": "path", "path": str(path), "sha256": None},
        "subsample": {**settings["subsample"], **PARTS, "folds": FOLDS, "fold": fold, "folded": "test"},
    }
    YAML(typ="safe", pure=True).dump(settings, folder / params.PARAMS)


def run(folder: Path, stage: str) -> float:
    """Run a stage in a copy; returns its seconds, with the start of its process."""
    start = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    if subprocess.run([sys.executable, "-m", f"stages.{stage}"], cwd=folder, env=environment).returncode:
        raise UserError(f"{folder}: the stage {stage} failed.")
    return time.monotonic() - start


def looks(folder: Path) -> list[tuple[float, float]]:
    """Level 3's looks at validation photos: (epochs so far, log loss)."""
    file = folder / "metrics/curves/finetune/plots/metrics/val_loss.tsv"
    header, *rows = [line.split("\t") for line in file.read_text().splitlines()]
    return [(float(row[header.index("step")]), float(row[header.index("val_loss")])) for row in rows]


def tested(folder: Path, settings: Mapping) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Labels, and both levels' probabilities, of a fold's validation and of its test photos: each with the key `labels`."""
    from littledata.training import evaluate

    manifest = dataset.read_manifest(folder / dataset.MANIFEST)
    classes = dataset.class_names(manifest)
    photos = {split: dataset.of_split(manifest, split) for split in ("validation", "test")}
    found = [{"labels": dataset.labels(of_split, classes)} for of_split in photos.values()]
    here = os.getcwd()
    os.chdir(folder)  # where all paths of a stage begin
    try:
        for level in LEVELS:
            found[0][level] = np.load(f"data/validation/{level}.npy")
            found[1][level] = evaluate.predict(level, photos["test"], settings["fit"])
    finally:
        os.chdir(here)
    return found[0], found[1]


def fold_of(folder: Path, number: int, settings: Mapping, path: Path) -> dict:
    """Run one fold; returns what it predicted and what level 3 took."""
    write_params(folder, settings, path, number)
    took = {stage: run(folder, stage) for stage in STAGES if stage not in ONCE or not (folder / "data/manifest.csv").exists()}
    validation, test = tested(folder, settings)
    seen, train = looks(folder), len(tables.rows(folder / "data/activations/train.csv"))
    batch = settings["finetune"]["batch_size"]
    return {
        "validation": validation,
        "test": test,
        "photo_steps": round(seen[-1][0] * -(-train // batch)) * batch,
        "seconds": round(took["finetune"]),
        "ended_where_it_began": np.allclose(validation["top"], validation["finetune"], atol=SAME),
    }


def interval(values: Callable[[np.ndarray], float], count: int) -> list[float]:
    """The 2.5th and 97.5th percentile of a score over bootstrap samples of so many photos (Efron, 1979)."""
    rng = np.random.default_rng(1)
    found = [values(rng.integers(count, size=count)) for _ in range(SAMPLES)]
    return [round(float(end), 4) for end in np.percentile(found, [2.5, 97.5])]


def scores(labels: np.ndarray, said: np.ndarray) -> dict:
    """A level's accuracy, balanced accuracy and log loss on all tested photos, with intervals."""
    right, losses = said.argmax(1) == labels, temperature.losses(labels, said)

    def balanced(rows: np.ndarray) -> float:
        return np.mean([right[rows][labels[rows] == kind].mean() for kind in np.unique(labels[rows])])

    every, n = np.arange(len(labels)), len(labels)
    return {
        "accuracy": round(float(right.mean()), 4),
        "accuracy_interval": [round(end, 4) for end in metrics.wilson(int(right.sum()), n)],
        "balanced_accuracy": round(float(balanced(every)), 4),
        "balanced_accuracy_interval": interval(balanced, n),
        "log_loss": round(float(losses.mean()), 4),
        "log_loss_interval": interval(lambda rows: losses[rows].mean(), n),
    }


def difference(labels: np.ndarray, said: Mapping[str, np.ndarray]) -> dict:
    """What level 3 wins over level 2 on the same photos: the interval is that of paired differences (normal approximation)."""
    two, three = (said[level].argmax(1) == labels for level in LEVELS)
    won, lost, n = int(np.sum(three & ~two)), int(np.sum(two & ~three)), len(labels)
    mean = (won - lost) / n
    half = 1.96 * np.sqrt((won + lost) / n - mean**2) / np.sqrt(n)
    ends = [round(mean - half, 4), round(mean + half, 4)]
    p = float(f"{metrics.mcnemar(won, lost):.2g}")
    return {"won": won, "lost": lost, "difference": round(mean, 4), "interval": ends, "p": p}


def regrets(folds: Sequence[Mapping]) -> dict[str, float]:
    """For each way to choose by validation photos: the test accuracy that it loses against the better level, the folds' mean."""
    found = {}
    for name, criterion in CRITERIA.items():
        lost = []
        for fold in folds:
            test = {level: np.mean(fold["test"][level].argmax(1) == fold["test"]["labels"]) for level in LEVELS}
            said = {level: fold["validation"][level] for level in LEVELS}
            lost.append(max(test.values()) - test[criterion(said, fold["validation"]["labels"])])
        found[name] = round(float(np.mean(lost)), 5)
    return found


def summary(folds: Sequence[Mapping]) -> dict:
    pooled = {key: np.concatenate([fold["test"][key] for fold in folds]) for key in ("labels", *LEVELS)}
    found: dict = {"n": len(pooled["labels"]), "folds": len(folds)}
    for level in LEVELS:
        each = [round(float(np.mean(fold["test"][level].argmax(1) == fold["test"]["labels"])), 4) for fold in folds]
        found[level] = scores(pooled["labels"], pooled[level]) | {"of_folds": each}
    found["level 3 less level 2"] = difference(pooled["labels"], pooled)
    found |= {key: [fold[key] for fold in folds] for key in ("photo_steps", "seconds")}
    found["ended_where_it_began"] = sum(fold["ended_where_it_began"] for fold in folds)
    return found | {"regret": regrets(folds)}


def with_ends(one: Mapping, score: str) -> str:
    """A score with its interval."""
    low, high = one[f"{score}_interval"]
    return f"{one[score]:.3f} ({low:.3f}-{high:.3f})"


def lines(sets: Mapping[str, Mapping]) -> list[str]:
    """What a file has of sets: the levels, what level 3 wins, and what each way to choose loses."""
    names = {name: tables.plain(name) for name in sets}
    of_levels, gains = [], []
    for name, one in sets.items():
        what = f"{one['params']['backbone']}, {one['params']['image_size']} px"
        for number, level in enumerate(LEVELS, start=2):
            each = (with_ends(one[level], score) for score in ("accuracy", "balanced_accuracy", "log_loss"))
            of_levels.append([names[name], what, f"{one['n']}, {one['folds']} of {FOLDS} folds", number, *each])
        gain = one["level 3 less level 2"]
        gains.append([
            names[name], f"{gain['difference']:+.3f} ({gain['interval'][0]:+.3f} to {gain['interval'][1]:+.3f})",
            f"+{gain['won']} -{gain['lost']}, {gain['p']:.2g}", f"{min(one['photo_steps'])}-{max(one['photo_steps'])}",
            f"{min(one['seconds'])}-{max(one['seconds'])}", f"{one['ended_where_it_began']} of {one['folds']}",
        ])  # fmt: skip
    ways = [[name, *(f"{one['regret'][name]:.4f}" for one in sets.values())] for name in CRITERIA]
    return [
        tables.markdown(["set", "network", "tested", "level", "accuracy", "balanced accuracy", "log loss"], of_levels),
        "",
        tables.markdown(["set", "level 3 less level 2", "won, lost, p", "photo-steps", "seconds", "as begun"], gains),
        "",
        tables.markdown(["test accuracy lost by choosing by", *names.values()], ways),
    ]


def add(to: Path, name: str, found: Mapping) -> None:
    """Put a set's summary into a file, which may have those of others, even of a study that runs now."""
    sets = json.loads(to.read_text())["sets"] if to.exists() else {}
    with files.whole(to) as file:
        file.write(f"{json.dumps({'sets': {**sets, name: found}}, indent=2)}\n".encode())


def written(path: Path) -> list[str]:
    """The lines of what an earlier run wrote. Raises UserError where it is something else."""
    try:
        return lines(json.loads(path.read_text())["sets"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{path} is no file that `python -m studies.sets` wrote.") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("given", nargs="*", metavar="SET or NAME=VALUE", help="folders of class folders, zips of them; params")
    numbers = range(1, FOLDS + 1)
    parser.add_argument("--folds", nargs="+", type=int, choices=numbers, default=numbers, metavar="FOLD", help="some of the five")
    parser.add_argument("--recipe", help="another recipe than params.yaml's: recipes/<name>.yaml")
    parser.add_argument("--to", type=Path, help=f"the file to write; default: {SETS}, or studies/results/sets_<recipe>.json")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    options = parser.parse_intermixed_args()  # as `make sets` has them: sets, options, params
    if options.show:
        print(*written(options.show), sep="\n")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the stage that runs would go on alone
    to = options.to or (SETS.with_stem(f"sets_{options.recipe}") if options.recipe else SETS)
    given = [word for word in options.given if "=" not in word or Path(word).exists()]
    if not given:
        parser.error('name one set or more: make sets SETS="a.zip b/"')
    changes = recipe.changes(options.recipe) + [word for word in options.given if word not in given]
    settings = repro.changed_by(params.read(params.PARAMS), changes)
    params.check(settings, params.PARAMS)
    print("Level 1 is left out.")
    kept = {key: value for key, value in settings.items() if key not in OTHERWISE}
    found, places = {}, located(given)
    COPIES.mkdir(parents=True, exist_ok=True)
    for name, path in places.items():
        with tempfile.TemporaryDirectory(dir=COPIES) as copy:
            folder, folds = workspace(Path(copy)), []
            for number in sorted(set(options.folds)):
                folds.append(fold_of(folder, number, settings, path))
                found[name] = {"params": kept, **summary(folds)}
                add(to, name, found[name])
    print(*lines(found), sep="\n")


if __name__ == "__main__":
    command.start(main)
