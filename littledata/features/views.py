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

from littledata.core import files
from littledata.features import layers
from littledata.pictures import deep, images, kinds, metadata, tiff
from littledata.splits import dataset

WEIGHTS = Path("models/backbone.weights.h5")
OTHERS = ("export/to_onnx.py", "networks/backbone.py", "networks/lite.py")  # for networks but VGG16; they would load TensorFlow


def view_of(photo: dataset.Photo, view: int, size: int, fit: str, settings, depth: deep.Depth, seed: int) -> np.ndarray:
    """One view of a training photo, the first of them plain, or one crop of any other: uint8 of shape (size, size, 3)."""
    data = photo.read()
    if photo.split != "train":
        return images.cropped(data, size, fit, settings["crops"], depth)[view]
    plain = images.square(data, size, fit, depth)
    if view == 0:
        return plain
    rng = images.random_numbers(seed, view, photo.sha256)
    return images.augment(images.padded(plain), size, settings["augmentation"], rng)


def origin(params, depth: deep.Depth) -> list:
    """List all that a plain view's activations depend on, besides the photo."""
    modules = (layers, images, kinds, deep, metadata, tiff)
    others = [Path(layers.__file__).parents[1] / name for name in OTHERS if params["backbone"] != "VGG16"]
    code = [files.sha256_of(file) for file in (__file__, *(module.__file__ for module in modules), *others)]
    libraries = [importlib.metadata.version(name) for name in ("keras", "ncnn", "onnxruntime", "pillow", "pillow-heif", "numpy")]
    own = [*(params[name] for name in ("backbone", "image_size", "fit", "preprocessing")), *params["finetune"]["unfreeze"]]
    return [files.sha256_of(WEIGHTS), *code, *libraries, *own, depth.about()]
