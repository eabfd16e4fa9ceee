"""How far each idea goes: one experiment an idea, all else as params.yaml has it, judged by validation photos. `make ideas`

    python -m tools.ideas                           # all of them
    python -m tools.ideas "label smoothing" mixup   # some
    python -m tools.ideas --list

The blog's closing list comes first, then what later papers advise, then sizes and views. For levels 2 and 3 each row has the
accuracy on validation photos, by how many photos it is righter or wronger than the recipe as it is (with the exact
McNemar test's p where that is below 0.05: else the difference is noise), and the log loss, which tells sooner. The second row
is logistic regression on the averaged bottleneck features: the small honest baseline. Test photos have no part in it.
Writes metrics/ideas.json. The workspace ends as it was.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages.lib import activations, dataset, metrics
from stages.lib.errors import UserError
from tools import command, experiment

IDEAS_FILE = Path("metrics/ideas.json")
LEVELS = ("top", "finetune")
AS_IT_IS, BASELINE = "the recipe as it is", "logistic regression"
ROTATED = {"rotation": 25, "shear": 0.3, "zoom": 0.3, "shift": 0.1, "colour": 0.3}


def both(**changes: object) -> dict[str, object]:
    """The same change to levels 2 and 3."""
    return {f"{level}.{name}": value for level in LEVELS for name, value in changes.items()}


IDEAS: dict[str, dict[str, object]] = {
    "stronger augmentation": {"activations.views": 4} | {f"activations.augmentation.{k}": v for k, v in ROTATED.items()},
    "less dropout": both(dropout=0.3),
    "more dropout": both(dropout=0.85),
    "L1": both(l1=1e-5),
    "L2": both(l2=1e-3),
    "block4 too": {"finetune.unfreeze": "[block4,block5]"},
    "pooling: flatten": {"top.pooling": "flatten"},
    "pooling: max": {"top.pooling": "max"},
    "pooling: average and max": {"top.pooling": "both"},
    "no hidden layer": {"top.units": 0},
    "label smoothing": both(label_smoothing=0.1),
    "mixup": both(mixup=0.2),
    "warm-up": both(schedule="warmup"),
    "constant rate": both(schedule="constant"),
    "block5 slower than the top": {"finetune.lr": 3e-5, "finetune.block_pace": 0.3},
    "weight averaging": both(ema=0.99),
    "SGD, the blog's": {"finetune.optimizer": "sgd", "finetune.lr": 1e-4},
    "level 3: three times the rate": {"finetune.lr": 3e-5},
    "level 3: no mirroring": {"finetune.mirror": "false"},
    "level 3: two epochs": {"finetune.epochs": 2},
    "150 px": {"image_size": 150},
    "180 px": {"image_size": 180},
    "256 px": {"image_size": 256},
    "288 px": {"image_size": 288},
    "4 views": {"activations.views": 4},
}


def labels() -> np.ndarray:
    """The validation photos' classes, as numbers."""
    photos = dataset.read_manifest()
    return dataset.labels(dataset.of_split(photos, "validation"), dataset.class_names(photos))


def logistic_regression() -> np.ndarray:
    """Its probabilities for validation photos: on averaged bottleneck features, each scaled to the same spread."""
    train, photos = activations.read(activations.BOTTLENECK, "train")
    validation, _ = activations.read(activations.BOTTLENECK, "validation")
    plain, classes = train[:, 0].astype(np.float32).mean((1, 2)), dataset.class_names(photos)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    model.fit(plain, dataset.labels(photos, classes))
    return model.predict_proba(validation[:, 0].astype(np.float32).mean((1, 2)))


def scores(truth: np.ndarray, probabilities: np.ndarray, before: np.ndarray) -> dict:
    """Accuracy and log loss, and on how many photos they are right where others were wrong and the other way about."""
    right, was = probabilities.argmax(1) == truth, before.argmax(1) == truth
    gained, lost = int(np.sum(right & ~was)), int(np.sum(was & ~right))
    loss = log_loss(truth, np.clip(probabilities, 1e-7, 1), labels=range(probabilities.shape[1]))
    found = {"accuracy": np.mean(right), "log_loss": loss, "p": metrics.mcnemar(gained, lost)}
    return {name: round(float(value), 4) for name, value in found.items()} | {"gained": gained, "lost": lost}


def predicted(changes: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Both levels' probabilities for the validation photos after an experiment."""
    if status := experiment.run(changes):
        sys.exit(status)
    return {level: np.load(activations.VALIDATION / f"{level}.npy") for level in LEVELS}


def cell(found: Mapping | None) -> str:
    if found is None:
        return ""
    beyond = f", p = {found['p']:.3f}" if found["p"] < 0.05 else ""
    return f"{found['accuracy']:.4f} (+{found['gained']} -{found['lost']}{beyond}), {found['log_loss']:.4f}"


def row(idea: str, found: Mapping) -> str:
    changes = " ".join(f"{name}={value}" for name, value in found["params"].items())
    return f"| {idea} | {f'`{changes}`' if changes else ''} | " + " | ".join(cell(found.get(level)) for level in LEVELS) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ideas", nargs="*", metavar="IDEA", help="by their names; default: all")
    parser.add_argument("--list", action="store_true", help="show them and stop")
    given = parser.parse_args()
    if unknown := [name for name in given.ideas if name not in IDEAS]:
        raise UserError(f"no idea is called {unknown[0]}; there are {', '.join(IDEAS)}.")
    asked = {name: IDEAS[name] for name in given.ideas or IDEAS}
    if given.list:
        print("\n".join(f"{name:<32}{' '.join(f'{key}={value}' for key, value in IDEAS[name].items())}" for name in asked))
        return
    found: dict = {}
    with experiment.workspace_as_it_was():
        before, truth = predicted({}), labels()
        found[AS_IT_IS] = {"params": {}} | {level: scores(truth, before[level], before[level]) for level in LEVELS}
        found[BASELINE] = {"params": {}, "top": scores(truth, logistic_regression(), before["top"])}
        for name, changes in asked.items():
            after = predicted(changes)
            found[name] = {"params": changes} | {level: scores(truth, after[level], before[level]) for level in LEVELS}
    IDEAS_FILE.write_text(json.dumps(found, indent=2) + "\n")
    print("| idea | params | level 2: accuracy, log loss | level 3 |\n|" + "---|" * 4)
    for name, values in found.items():
        print(row(name, values))


if __name__ == "__main__":
    command.start(main)
