"""Compute the output of the pretrained network's frozen layers, once for every augmented view of every photo.

Everything below the cut stays as it was pretrained, so its output for one picture never changes. It is computed once and
cached. An experiment with another learning rate, dropout, seed or number of epochs trains only what lies above the cut.
The cut follows `finetune.unfreeze`: with [block5] it is the output of block4's pooling. Every view is also kept by itself, so
another draw of the same photos computes nothing anew, and a run that was interrupted goes on where it was.

Writes data/activations/<split>.npy and .csv: training photos in `activations.views` views, the first of them
plain; all other photos plain, or in five crops (`activations.crops`).
"""

import importlib.metadata
from pathlib import Path

import numpy as np

from stages.core import files, stage
from stages.core.progress import progress
from stages.frozen import activations, layers, memo
from stages.photos import dataset
from stages.pictures import deep, images, kinds, metadata, tiff

WEIGHTS = Path("models/backbone.weights.h5")
OTHERS = ("frozen/to_onnx.py", "networks/backbone.py", "networks/lite.py")  # for networks but VGG16; they would load TensorFlow


def view_of(photo: dataset.Photo, view: int, size: int, fit: str, settings, depth: deep.Depth) -> np.ndarray:
    """One view of a training photo, the first of them plain, or one crop of any other: uint8 of shape (size, size, 3)."""
    data = photo.read()
    if photo.split != "train":
        return images.cropped(data, size, fit, settings["crops"], depth)[view]
    plain = images.square(data, size, fit, depth)
    if view == 0:
        return plain
    rng = images.random_numbers(settings["seed"], view, photo.sha256)
    return images.augment(images.padded(plain), size, settings["augmentation"], rng)


def origin(params, depth: deep.Depth) -> list:
    """List all that a plain view's activations depend on, besides the photo."""
    modules = (layers, images, kinds, deep, metadata, tiff)
    others = [Path(layers.__file__).parents[1] / name for name in OTHERS if params["backbone"] != "VGG16"]
    code = [files.sha256_of(file) for file in (__file__, *(module.__file__ for module in modules), *others)]
    libraries = [importlib.metadata.version(name) for name in ("keras", "ncnn", "onnxruntime", "pillow", "pillow-heif", "numpy")]
    own = [*(params[name] for name in ("backbone", "image_size", "fit", "preprocessing")), *params["finetune"]["unfreeze"]]
    return [files.sha256_of(WEIGHTS), *code, *libraries, *own, depth.about()]


def main(params) -> None:
    size, fit, settings = params["image_size"], params["fit"], params["activations"]
    manifest, depth = dataset.read_manifest(), deep.read()
    network = layers.Frozen(WEIGHTS, params["backbone"], params["finetune"]["unfreeze"])
    shape = network.output_shape((size, size, 3))
    known = origin(params, depth)
    plain = memo.Memo(*known)
    augmented = memo.Memo(*known, settings["seed"], dict(settings["augmentation"]))
    crops = memo.Memo(*known, settings["crops"]) if settings["crops"] > 1 else plain

    def pictures(item):
        return network.preprocess(view_of(*item, size, fit, settings, depth)[None], params["preprocessing"])

    def recall(item, compute):
        photo, view = item
        kept = crops if photo.split != "train" else augmented if view else plain
        return kept.get(f"{photo.sha256}-{view}", compute)

    for split in dataset.splits(manifest):
        photos = dataset.of_split(manifest, split)
        views = settings["views"] if split == "train" else settings["crops"]
        items = [(photo, view) for photo in photos for view in range(views)]
        with (
            activations.writer(activations.ACTIVATIONS, photos, views, shape) as append,
            progress(len(items), f"{split} views", "views") as bar,
        ):
            for computed in network.outputs(items, pictures, recall):
                append(computed)
                bar.update(len(computed))


if __name__ == "__main__":
    stage.run("activations", main)
