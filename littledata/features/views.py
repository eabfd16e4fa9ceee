"""The views of a photo that frozen layers read, and what their output for one depends on."""

import importlib.metadata
from pathlib import Path

import numpy as np

from littledata.core import files
from littledata.core.paths import WEIGHTS
from littledata.pictures import deep, images
from littledata.splits import dataset

LIBRARY = Path(__file__).parents[1]
ROOMS = ("pictures", "networks")  # whose code decides over the output
CODE = ("features/layers.py", "features/views.py", "export/to_onnx.py")
LIBRARIES = ("keras", "ncnn", "onnxruntime", "pillow", "pillow-heif", "numpy")


def view_of(photo: dataset.Photo, view: int, size: int, fit: str, settings, depth: deep.Depth, seed: int) -> np.ndarray:
    """One view of a training photo, the first of them plain, or one crop of any other: uint8 of shape (size, size, 3)."""
    data = photo.read()
    if photo.split != "train":
        return images.cropped(data, size, fit, settings.crops, depth)[view]
    plain = images.square(data, size, fit, depth)
    if view == 0:
        return plain
    rng = images.random_numbers(seed, view, photo.sha256)
    return images.augment(images.padded(plain), size, settings.augmentation, rng)


def origin(params, depth: deep.Depth) -> list:
    """List all that a plain view's activations depend on, besides the photo."""
    code = [*(file for room in ROOMS for file in files.of(LIBRARY / room)), *(LIBRARY / name for name in CODE)]
    settings = params.backbone, params.image_size, params.fit, params.preprocessing, *params.finetune.unfreeze
    versions = map(importlib.metadata.version, LIBRARIES)
    return [*map(files.sha256_of, (WEIGHTS, *code)), *versions, *settings, depth.about()]
