"""The cached output of VGG16's frozen layers, as memory-mapped float16 arrays beside the manifest's order.

`<split>.npy` has the shape (views, n, height, width, channels): view 0 is the photo as it is, the others are
augmented. `<split>.csv` names the photos of axis 1 in order, so that labels never have to be rebuilt from
positions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.lib import dataset

ACTIVATIONS = Path("data/activations")
BOTTLENECK = Path("data/bottleneck")


def create(folder: Path, photos: Sequence[dataset.Photo], views: int, shape: tuple[int, ...]) -> np.memmap:
    """A new array on disk for photos of one split, to be filled: float16 of shape (views, n, *shape)."""
    folder.mkdir(parents=True, exist_ok=True)
    split = photos[0].split
    dataset.write_manifest(photos, folder / f"{split}.csv")
    return np.lib.format.open_memmap(folder / f"{split}.npy", "w+", np.float16, (views, len(photos), *shape))


def read(folder: Path, split: str) -> tuple[np.ndarray, list[dataset.Photo]]:
    """A split's memory-mapped array and the photos along its axis 1."""
    array = np.load(folder / f"{split}.npy", mmap_mode="r")
    photos = dataset.read_manifest(folder / f"{split}.csv")
    if array.shape[1] != len(photos):
        raise ValueError(f"{folder}/{split}.npy has {array.shape[1]} photos, {split}.csv has {len(photos)}")
    return array, photos
