"""Pictures of what the level that is handed out does, and of the photos.

They are sheets of photos: the worst mistakes, where the network looks, augmented views as levels train on them, near-duplicates,
and a list of what was skipped and why.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from littledata.features import activations
from littledata.networks import keras
from littledata.networks import tensorflow as tf
from littledata.pictures import deep, images
from littledata.report.answers import Answer
from littledata.scores import levels
from littledata.splits import dataset

GALLERY = Path("data/gallery")
MISTAKES = 12
VIEWS = 5  # augmented ones beside each photo
SIZE = 224  # px, of a photo in a picture
PAIRS = 8  # of near-duplicates
LINES = 24  # of skipped photos
Cell = tuple[np.ndarray, str] | tuple[np.ndarray, str, Image.Image]  # a photo, its caption, and what is laid over it


def square(file: str, fit: str, crops: int = 1) -> np.ndarray:
    """A drawn photo as the networks see it, or the middle one of its crops."""
    return images.cropped((dataset.PHOTOS / file).read_bytes(), SIZE, fit, crops, deep.read())[0]


def short_name(path: str, width: int = 20) -> str:
    """The end of a file's name, without its folders, where there is little room."""
    name = Path(path).name
    return name if len(name) <= width else f"...{name[3 - width :]}"


def short_class(kind: str, width: int = 14) -> str:
    """The beginning of a class's name, where there is little room."""
    return kind if len(kind) <= width else f"{kind[: width - 3]}..."


def caption(answer: Answer) -> str:
    photo, said = answer.photo, "" if answer.right else f", said {short_class(answer.predicted)}"
    return f"{short_class(photo.kind)}{said} {answer.confidence:.3f}\n{photo.split} {short_name(photo.original)}"


def halves(model: keras.Model) -> tuple[keras.Model, keras.Model, keras.layers.Dense]:
    """A network up to the last map that no pooling has shrunk, from there to its last layer, and that layer, dense."""
    pools = tuple(getattr(keras.layers, f"{which}Pooling2D") for which in ("Max", "Average"))
    maps = [layer for layer in model.layers if len(layer.output.shape) == 4 and not isinstance(layer, pools)]
    seen, last = maps[-1].output, model.layers[-1]
    return keras.Model(model.input, seen), keras.Model(seen, last.input), last


def grad_cam(below: keras.Model, above: keras.Model, last: keras.layers.Dense, inputs: np.ndarray, label: int) -> np.ndarray:
    """Where a class is seen: an array of the last map's height and width, from 0 to 1.

    Grad-CAM (Selvaraju et al., ICCV 2017): the map's channels, each weighted by the mean gradient of the class's score
    before sigmoid or softmax, added up, and only what speaks for the class.

    Parameters
    ----------
    below, above, last
        The network, as `halves` has it.
    inputs : array of shape (1, height, width, channels)
        What the network reads.
    label : int
        The class's number.
    """
    features = below(tf.convert_to_tensor(inputs, tf.float32))
    with tf.GradientTape() as tape:
        tape.watch(features)
        scores = above(features) @ last.kernel + last.bias
        score = (scores if label else -scores)[:, 0] if scores.shape[1] == 1 else scores[:, label]
    weights = tf.reduce_mean(tape.gradient(score, features), (1, 2), keepdims=True)
    seen = np.asarray(tf.nn.relu(tf.reduce_sum(weights * features, -1)))[0]
    return seen / seen.max() if seen.max() > 0 else seen


def blank(width: float, height: float, title: str, note: str) -> Figure:
    """An empty picture with a title above and a note below, sizes in units of 100 px."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=100)
    figure.suptitle(title, fontsize=16, fontweight="bold")
    figure.supxlabel(note, fontsize=11)
    return figure


def sheet(title: str, note: str, cells: Sequence[Cell], columns: int = 4, fontsize: int = 9) -> Figure:
    """A picture of photos in rows, each below its caption."""
    rows = max(1, -(-len(cells) // columns))
    figure = blank(2.6 * columns, 3.0 * rows + 1.1, title, note)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes:
        axis.set_axis_off()
    for axis, (pixels, text, *overlays) in zip(figure.axes, cells, strict=False):
        axis.imshow(pixels)
        axis.set_title(text, fontsize=fontsize, parse_math=False)  # a $ in a name is no formula
        for overlay in overlays:
            axis.imshow(np.asarray(overlay), cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return figure


def mistakes(level: str, answers: Sequence[Answer], fit: str, why: str) -> Figure:
    """The worst mistakes of the level that is handed out."""
    wrong = [answer for answer in answers if not answer.right]
    name, of = f"Level {levels.LEVELS[level]}", f"of {len(answers)} validation and test photos"
    title = f"{name}: its worst mistakes" if wrong else f"{name} mistook none {of}"
    note = f"{len(wrong)} {of} are mistaken; the surest mistakes first\n{why}" if wrong else why
    return sheet(title, note, [(square(answer.photo.file, fit), caption(answer)) for answer in wrong[:MISTAKES]])


def heat_maps(level: str, answers: Sequence[Answer], fit: str, crops: int, why: str) -> Figure:
    """Photos beside what speaks for the class that is predicted: four mistakes, and four right answers."""
    wrong, right = ([answer for answer in answers if answer.right is kind] for kind in (False, True))
    network = halves(keras.saving.load_model(f"models/{level}.keras", compile=False))
    folder = activations.BOTTLENECK if level == "top" else activations.ACTIVATIONS
    classes = sorted({answer.photo.kind for answer in answers})
    cells: list[Cell] = []
    for answer in wrong[:4] + right[:2] + right[-2:]:
        array, photos = activations.read(folder, answer.photo.split)
        seen = grad_cam(*network, array[photos.index(answer.photo)][:1], classes.index(answer.predicted))
        pixels = square(answer.photo.file, fit, crops)
        overlay = Image.fromarray(seen).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        cells += [(pixels, caption(answer)), (pixels, "", overlay)]
    note = "bright where the network sees what it says; first mistakes, then right answers, unsure and sure ones"
    return sheet(f"Where level {levels.LEVELS[level]} looks (Grad-CAM)", f"{note}\n{why}", cells)


def augmentation(photos: Sequence[dataset.Photo], params) -> Figure:
    """Two photos of different classes, plain and as level 1 and the cached activations see them."""
    train = dataset.of_split(photos, "train")
    examples = [next(photo for photo in train if photo.kind == kind) for kind in dataset.class_names(train)[:2]]
    strengths = {"level 1": params.small_cnn.augmentation, "levels 2 and 3": params.activations.augmentation}
    cells: list[Cell] = []
    for photo in examples:
        plain = square(photo.file, params.fit)
        for level, strength in strengths.items():
            cells.append((plain, f"{photo.kind}, {level}"))
            for view in range(1, VIEWS + 1):
                rng = images.random_numbers(params.seed, view, photo.sha256)
                cells.append((images.augment(images.padded(plain), SIZE, strength, rng), ""))
    note = "first the photo as it is, made square; then views of it"
    return sheet("Augmentation as it is applied", note, cells, VIEWS + 1, fontsize=10)


def near_duplicates(pairs: Sequence[Sequence[str]]) -> Figure:
    """The most alike pairs of photos, for rows of data/duplicates.csv."""
    across = sum(file.split("/")[0] != other.split("/")[0] for _, file, _, other, _ in pairs)
    title = "Near-duplicates" if pairs else "No near-duplicates were found"
    note = f"{len(pairs)} pairs, the most alike first; {across or 'none'} across splits" if pairs else ""
    cells: list[Cell] = []
    for correlation, *photos in pairs[:PAIRS]:
        for file, original in (photos[:2], photos[2:]):
            folder = "/".join(file.split("/")[:2])
            cells.append((square(file, "squash"), f"{folder}, {correlation}\n{short_name(original)}"))
    return sheet(title, note, cells, fontsize=10)


def skipped(photos: Sequence[Sequence[str]]) -> Figure:
    """The names of photos that were not drawn, and why, for rows of data/skipped.csv."""
    lines = max(1, len(photos[:LINES]))
    title = f"{len(photos)} photos were skipped" if photos else "No photo was skipped"
    note = f"the first {LINES} of them; all are in data/skipped.csv" if len(photos) > LINES else ""
    figure = blank(10.4, 1.1 + 0.28 * lines, title, note)
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_ylim(lines, 0)
    for line, (name, why) in enumerate(photos[:LINES]):
        for x, text in ((0, short_name(name, 40)), (0.4, textwrap.shorten(why, 90, placeholder="..."))):
            axis.text(x, line + 0.5, text, va="center", fontsize=10, parse_math=False)
    return figure
