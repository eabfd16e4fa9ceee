"""How far each idea goes: one experiment an idea, all else as params.yaml has it, judged by validation photos. `make ideas`

    python -m studies.ideas                           # all of them
    python -m studies.ideas "label smoothing" mixup   # some; what the file has of others of the same recipe stays
    python -m studies.ideas --list

First come those that train nothing anew or no network: logistic regression, the small honest baseline, and what averages
answers of the recipe as it is. Then the blog's closing list, what later papers advise, sizes and views. For levels 2 and 3
each row has the accuracy on validation photos, by how many photos it is righter or wronger than the recipe as it is (with
the exact McNemar test's p where that is below 0.05: else the difference is noise), and the log loss, which tells sooner.
Test photos have no part in it: `evaluate` doesn't run. Writes studies/results/ideas.json, row by row. The workspace ends as it was.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from littledata.core import command, params
from littledata.core.errors import UserError
from littledata.core.progress import progress
from littledata.features import activations, layers
from littledata.networks import finetuned, keras, models
from littledata.pictures import deep, images
from littledata.scores import metrics
from littledata.splits import dataset
from tools import experiment

IDEAS_FILE = Path("studies/results/ideas.json")
LEVELS = ("top", "finetune")
AS_IT_IS = "the recipe as it is"
ROTATED = {"rotation": 25, "shear": 0.3, "zoom": 0.3, "shift": 0.1, "colour": 0.3}


def both(**changes: object) -> dict[str, object]:
    """The same change to levels 2 and 3."""
    return {f"{level}.{name}": value for level in LEVELS for name, value in changes.items()}


IDEAS: dict[str, dict[str, object]] = {
    "stronger augmentation": {"activations.views": 2} | {f"activations.augmentation.{k}": v for k, v in ROTATED.items()},
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
    "warm-up": both(warmup=100),
    "constant rate": both(schedule="constant"),
    "features scaled before the top": {"top.scaling": "true"},
    "block5 slower than the top": {"finetune.lr": 3e-5, "finetune.block_pace": 0.3},
    "weight averaging": both(ema=0.99),
    "weight averaging at a constant rate": both(ema=0.99, schedule="constant"),
    "SGD, the blog's": {"finetune.optimizer": "sgd", "finetune.lr": 1e-4},
    "level 3: three times the rate": {"finetune.lr": 3e-5},
    "level 3: no mirroring": {"finetune.mirror": "false"},
    "level 3: two epochs": {"finetune.epochs": 2},
    "150 px": {"image_size": 150},
    "180 px": {"image_size": 180},
    "256 px": {"image_size": 256},
    "288 px": {"image_size": 288},
    "five crops instead": {"activations.crops": 5},
    "aspect ratio kept: cropped": {"fit": "crop"},
    "aspect ratio kept: padded": {"fit": "pad"},
}


def labels() -> np.ndarray:
    """The validation photos' classes, as numbers."""
    photos = dataset.read_manifest()
    return dataset.labels(dataset.of_split(photos, "validation"), dataset.class_names(photos))


def averages(split: str, *folders: Path) -> np.ndarray:
    """Every channel's mean over a split's plain photos, of one or more blocks' outputs: float32 of shape (n, channels)."""
    arrays = [activations.read(folder, split)[0] for folder in folders]
    return np.hstack([np.stack([photo[0].mean((0, 1), np.float32) for photo in array]) for array in arrays])


def logistic_regression(*folders: Path) -> np.ndarray:
    """Its probabilities for validation photos: on `averages`, each scaled to the same spread."""
    _, photos = activations.read(folders[0], "train")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    model.fit(averages("train", *folders), dataset.labels(photos, dataset.class_names(photos)))
    return model.predict_proba(averages("validation", *folders))


def mirrored() -> dict[str, np.ndarray]:
    """Both levels' probabilities for the validation photos' mirror images: each of shape (n, classes)."""
    settings = params.load()
    size, fit, crops = settings["image_size"], settings["fit"], settings["activations"]["crops"]
    name, unfreeze = settings["backbone"], settings["finetune"]["unfreeze"]
    below, above = (layers.Frozen(finetuned.WEIGHTS, name, unfreeze, part) for part in (False, True))
    trained = {level: keras.saving.load_model(f"models/{level}.keras", compile=False) for level in LEVELS}
    photos, depth = dataset.of_split(dataset.read_manifest(), "validation"), deep.read()

    def pictures(photo: dataset.Photo) -> np.ndarray:
        pixels = images.cropped(photo.read(), size, fit, crops, depth)
        return below.preprocess(pixels[:, :, ::-1], settings["preprocessing"])

    def by_photo() -> Iterator[np.ndarray]:
        for computed in below.outputs(photos, pictures):
            yield from computed.reshape(-1, crops, *computed.shape[1:])

    found: dict[str, list] = {level: [] for level in LEVELS}
    with progress(len(photos), "validation photos, mirrored") as bar:
        for output in by_photo():
            found["finetune"].append(models.probabilities(trained["finetune"], output).mean(0))
            features = np.concatenate(list(above.outputs([output], lambda batch: batch.astype(np.float32))))
            found["top"].append(models.probabilities(trained["top"], features).mean(0))
            bar.update(1)
    return {level: np.stack(each) for level, each in found.items()}


def halfway() -> np.ndarray:
    """Probabilities for the validation photos by weights in the middle between levels 2 and 3 (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022)."""
    tuned = keras.saving.load_model("models/finetune.keras", compile=False)
    model = finetuned.build(params.load())
    model.set_weights([(start + end) / 2 for start, end in zip(model.get_weights(), tuned.get_weights())])
    array, _ = activations.read(activations.ACTIVATIONS, "validation")
    return np.concatenate(list(models.predicted(model, array)))


def without_training(before: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The ideas that leave the levels as they are: probabilities for the validation photos by idea and level."""
    turned = mirrored()
    return {
        "logistic regression": {"top": logistic_regression(activations.BOTTLENECK)},
        "logistic regression, block4 and block5": {"top": logistic_regression(activations.BOTTLENECK, activations.ACTIVATIONS)},
        "the mirror image as well": {level: (before[level] + turned[level]) / 2 for level in LEVELS},
        "the mean of both levels": {"finetune": (before["top"] + before["finetune"]) / 2},
        "weights halfway between both levels": {"finetune": halfway()},
    }


def scores(truth: np.ndarray, probabilities: np.ndarray, before: np.ndarray) -> dict:
    """Accuracy and log loss, and on how many photos they are right where others were wrong and the other way about."""
    right, was = probabilities.argmax(1) == truth, before.argmax(1) == truth
    gained, lost = int(np.sum(right & ~was)), int(np.sum(was & ~right))
    loss = log_loss(truth, np.clip(probabilities, 1e-7, 1), labels=range(probabilities.shape[1]))
    found = {"accuracy": np.mean(right), "log_loss": loss, "p": metrics.mcnemar(gained, lost)}
    return {name: round(float(value), 4) for name, value in found.items()} | {"gained": gained, "lost": lost}


def predicted(run: Callable[..., int], changes: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Both levels' probabilities for the validation photos after an experiment by what `workspace_as_it_was` yields."""
    if status := run(changes, (), "finetune"):
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
    found: dict = json.loads(IDEAS_FILE.read_text()) if given.ideas and IDEAS_FILE.exists() else {}

    def measured(changes: Mapping[str, object], after: Mapping[str, np.ndarray]) -> dict:
        return {"params": changes} | {level: scores(truth, said, before[level]) for level, said in after.items()}

    def add(idea: str, changes: Mapping[str, object], after: Mapping[str, np.ndarray]) -> None:
        found[idea] = measured(changes, after)
        IDEAS_FILE.write_text(json.dumps(found, indent=2) + "\n")

    with experiment.workspace_as_it_was() as run:
        before, truth = predicted(run, {}), labels()
        if found.get(AS_IT_IS) != measured({}, before):  # there are no rows, or they are of another recipe
            found = {}
            for name, after in ({AS_IT_IS: before} | without_training(before)).items():
                add(name, {}, after)
        for name, changes in asked.items():
            add(name, changes, predicted(run, changes))
    print("| idea | params | level 2: accuracy, log loss | level 3 |\n|" + "---|" * 4)
    for name, values in found.items():
        print(row(name, values))


if __name__ == "__main__":
    command.start(main)
