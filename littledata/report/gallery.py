"""Pictures of what the level that is handed out does, its worst mistakes and where it looks, and of the photos: augmented views as they are
trained on, near-duplicates, and what was skipped and why.

Writes data/gallery/mistakes.png, gradcam.png, augmentation.png, duplicates.png and skipped.png. They show photographs, so
they are cached, and not in git.
"""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

from littledata.features import activations
from littledata.networks import keras
from littledata.networks import tensorflow as tf
from littledata.pictures import deep, images
from littledata.scores import levels, predicted
from littledata.splits import dataset

rcParams["text.parse_math"] = False  # a $ in a name is no formula
GALLERY = Path("data/gallery")
SPLITS = ("validation", "test")
MISTAKES, COLUMNS = 12, 4
VIEWS = 5  # augmented ones beside each photo
SIZE = 224  # px, of a photo in a picture
PAIRS = 8  # of near-duplicates
LINES = 24  # of skipped photos


def read(file: str, fit: str) -> np.ndarray:
    """A drawn photo, made square as the networks see it."""
    return images.square((dataset.PHOTOS / file).read_bytes(), SIZE, fit, deep.read())


def short(name: str, width: int = 20) -> str:
    """A file's name where there is little room: without its folders, and with its end."""
    name = Path(name).name
    return name if len(name) <= width else f"...{name[3 - width :]}"


def cut(kind: str, width: int = 14) -> str:
    """A class' name where there is little room: with its beginning."""
    return kind if len(kind) <= width else f"{kind[: width - 3]}..."


class Answer:
    """What the level said of a photo; `original` is its name in the archive or folder that it comes from."""

    def __init__(self, file: str, original: str, label: int, probabilities: np.ndarray, classes: list[str]) -> None:
        self.file, self.label, self.said, self.sure = file, label, int(probabilities.argmax()), float(probabilities.max())
        self.right = self.said == int(label)
        self.own = float(probabilities[label])
        own, said = cut(classes[label]), cut(classes[self.said])
        self.caption = f"{own if self.right else f'{own}, said {said}'} {self.sure:.3f}\n{self.split} {short(original)}"

    @property
    def split(self) -> str:
        return self.file.partition("/")[0]


def answers(level: str) -> list[Answer]:
    """A level's answers for validation and test photos, the worst mistakes first, the surest right ones last."""
    found = []
    originals = {photo.file: photo.original for photo in dataset.read_manifest()}
    for split in SPLITS:
        files, labels, probabilities, classes = predicted.read(level, split)
        found += [Answer(file, originals[file], *answer, classes) for file, *answer in zip(files, labels, probabilities)]
    return sorted(found, key=lambda answer: (answer.right, answer.own, answer.file))


def halves(model: keras.Model) -> tuple[keras.Model, keras.Model, keras.layers.Dense]:
    """A network up to the last map that no pooling has shrunk, from there to its last layer, and that layer, dense."""
    pools = tuple(getattr(keras.layers, f"{which}Pooling2D") for which in ("Max", "Average"))
    maps = [layer for layer in model.layers if len(layer.output.shape) == 4 and not isinstance(layer, pools)]
    seen, last = maps[-1].output, model.layers[-1]
    return keras.Model(model.input, seen), keras.Model(seen, last.input), last


def grad_cam(below: keras.Model, above: keras.Model, last: keras.layers.Dense, inputs: np.ndarray, kind: int) -> np.ndarray:
    """Where a class is seen: an array of the last map's height and width, from 0 to 1.

    Grad-CAM (Selvaraju et al., ICCV 2017): the map's channels, each weighted by the mean gradient of the class' score
    before sigmoid or softmax, added up, and only what speaks for the class.

    Parameters
    ----------
    below, above, last
        The network, as `halves` has it.
    inputs : array of shape (1, height, width, channels)
        What the network reads.
    kind : int
        The class' number.
    """
    features = below(tf.convert_to_tensor(inputs, tf.float32))
    with tf.GradientTape() as tape:
        tape.watch(features)
        scores = above(features) @ last.kernel + last.bias
        score = (scores if kind else -scores)[:, 0] if scores.shape[1] == 1 else scores[:, kind]
    weights = tf.reduce_mean(tape.gradient(score, features), (1, 2), keepdims=True)
    seen = np.asarray(tf.nn.relu(tf.reduce_sum(weights * features, -1)))[0]
    return seen / seen.max() if seen.max() > 0 else seen


def grid(rows: int, columns: int, title: str, note: str) -> tuple[Figure, np.ndarray]:
    """An empty picture of so many photos: the figure and its axes of shape (rows, columns)."""
    figure = Figure(figsize=(2.6 * columns, 3.0 * rows + 1.1), layout="constrained", dpi=100)
    figure.suptitle(title, fontsize=16, fontweight="bold")
    figure.supxlabel(note, fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def mistakes(level: str, found: list[Answer], fit: str, why: str) -> Figure:
    """The worst mistakes of the level that is handed out."""
    wrong = [answer for answer in found if not answer.right]
    shown = wrong[:MISTAKES]
    note = f"{len(wrong)} of {len(found)} validation and test photos are mistaken; the surest mistakes first" if wrong else ""
    name = f"Level {levels.LEVELS[level]}"
    title = f"{name}: its worst mistakes" if wrong else f"{name} mistook none of {len(found)} validation and test photos"
    figure, axes = grid(max(1, -(-len(shown) // COLUMNS)), COLUMNS, title, f"{note}\n{why}".strip())
    for axis, answer in zip(axes.flat, shown):
        axis.imshow(read(answer.file, fit))
        axis.set_title(answer.caption, fontsize=9)
    return figure


def heat_maps(level: str, found: list[Answer], fit: str, crops: int, why: str) -> Figure:
    """Pairs of a photo, or the middle one of its crops, and what speaks for the class that was said: for four mistakes and
    four right answers."""
    wrong, right = [[a for a in found if a.right is kind] for kind in (False, True)]
    shown = wrong[:4] + right[:2] + right[-2:]
    network = halves(keras.saving.load_model(f"models/{level}.keras", compile=False))
    folder = activations.BOTTLENECK if level == "top" else activations.ACTIVATIONS
    arrays = {split: activations.read(folder, split) for split in SPLITS}
    places = {split: {photo.file: row for row, photo in enumerate(photos)} for split, (_, photos) in arrays.items()}
    note = "bright where the network sees what it says; first mistakes, then right answers, unsure and sure ones"
    figure, axes = grid(-(-len(shown) // 2), 4, f"Where level {levels.LEVELS[level]} looks (Grad-CAM)", f"{note}\n{why}")
    for (left, over), answer in zip(axes.reshape(-1, 2), shown):
        photo = images.cropped((dataset.PHOTOS / answer.file).read_bytes(), SIZE, fit, crops, deep.read())[0]
        array = arrays[answer.split][0][places[answer.split][answer.file]][:1]
        seen = Image.fromarray(grad_cam(*network, array, answer.said)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        left.imshow(photo)
        left.set_title(answer.caption, fontsize=9)
        over.imshow(photo)
        over.imshow(np.asarray(seen), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return figure


def augmentation(manifest: list[dataset.Photo], params) -> Figure:
    """Two photos of different classes, plain and as level 1 and the cached activations see them."""
    train = dataset.of_split(manifest, "train")
    photos = [next(photo for photo in train if photo.kind == kind) for kind in dataset.class_names(train)[:2]]
    levels = {"level 1": params["small_cnn"]["augmentation"], "levels 2 and 3": params["activations"]["augmentation"]}
    title, note = "Augmentation as it is applied", "first the photo as it is, made square; then views of it"
    figure, axes = grid(len(photos) * len(levels), VIEWS + 1, title, note)
    rows = iter(axes)
    for photo in photos:
        plain = read(photo.file, params["fit"])
        for level, strength in levels.items():
            first, *others = next(rows)
            first.imshow(plain)
            first.set_title(f"{photo.kind}, {level}", fontsize=10)
            for number, axis in enumerate(others, start=1):
                rng = images.random_numbers(params["seed"], number, photo.sha256)
                axis.imshow(images.augment(images.padded(plain), SIZE, strength, rng))
    return figure


def near_duplicates(pairs: list[list[str]]) -> Figure:
    """The most alike pairs of photos, for rows of data/duplicates.csv."""
    across = sum(file1.partition("/")[0] != file2.partition("/")[0] for _, file1, _, file2, _ in pairs)
    title = "Near-duplicates" if pairs else "No near-duplicates were found"
    note = f"{len(pairs)} pairs, the most alike first; {across or 'none'} across splits" if pairs else ""
    figure, axes = grid(max(1, -(-len(pairs[:PAIRS]) // 2)), 4, title, note)
    for both, (correlation, file1, original1, file2, original2) in zip(axes.reshape(-1, 2), pairs):
        for axis, file, original in zip(both, (file1, file2), (original1, original2)):
            axis.imshow(read(file, "squash"))
            axis.set_title(f"{'/'.join(file.split('/')[:2])}, {correlation}\n{short(original)}", fontsize=10)
    return figure


def skipped(photos: list[list[str]]) -> Figure:
    """Names of photos that weren't drawn, and why, for rows of data/skipped.csv."""
    figure = Figure(figsize=(10.4, 1.1 + 0.28 * max(1, len(photos[:LINES]))), layout="constrained", dpi=100)
    title = f"{len(photos)} photos were skipped" if photos else "No photo was skipped"
    figure.suptitle(title, fontsize=16, fontweight="bold")
    figure.supxlabel(f"the first {LINES} of them; all are in data/skipped.csv" if len(photos) > LINES else "", fontsize=11)
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_ylim(max(1, len(photos[:LINES])), 0)
    for line, (name, why) in enumerate(photos[:LINES]):
        axis.text(0, line + 0.5, short(name, 40), va="center", fontsize=10)
        axis.text(0.4, line + 0.5, textwrap.shorten(why, 90, placeholder="..."), va="center", fontsize=10)
    return figure
