"""The cached output of VGG16's frozen layers, as memory-mapped float16 arrays beside the manifest's order.

`<split>.npy` has the shape (n, views, height, width, channels): view 0 is the photo as it is, the others are
augmented; or they are crops, of photos that aren't trained on. `<split>.csv` names the photos of axis 0 in order, so that
labels never have to be rebuilt from positions.

Of the photos of a list that were not drawn there are averaged features, in shards, since they are too many for maps and for memory:
`data/bottleneck/listed/` has Arrow files of a row a photo, and `listed.npy`, int32 of shape (n, 3), says of each photo that level 2 may
learn from the number of its shard, its row there, and the number of its class.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from littledata.core import files
from littledata.splits import dataset

ACTIVATIONS = Path("data/activations")
BOTTLENECK = Path("data/bottleneck")
SHARDS = BOTTLENECK / "listed"
ROWS = BOTTLENECK / "listed.npy"
VALIDATION = Path("data/validation")  # the probabilities of the validation photos, that each level's training leaves


@contextlib.contextmanager
def writer(folder: Path, photos: Sequence[dataset.Photo], views: int, shape: Sequence[int]) -> Iterator[Callable]:
    """Open a new array for the photos of one split. Yields a function that appends to it.

    The function takes float arrays of shape (k, *shape): photo by photo, and view by view of each. It writes them one after
    the other, not through a memory map. So memory does not grow with the photos, and a full disk is an OSError, not a crash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    split = photos[0].split
    dataset.write_manifest(photos, folder / f"{split}.csv")
    with files.whole(folder / f"{split}.npy") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (len(photos), views, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda batch: file.write(np.ascontiguousarray(batch, "<f2").data)


def splits(folder: Path) -> list[str]:
    """The splits that a folder has arrays of, in order."""
    return [split for split in (*dataset.SPLITS, dataset.REST) if (folder / f"{split}.npy").exists()]


def read(folder: Path, split: str) -> tuple[np.ndarray, list[dataset.Photo]]:
    """A split's memory-mapped array and the photos along its axis 0."""
    array = np.load(folder / f"{split}.npy", mmap_mode="r")
    photos = dataset.read_manifest(folder / f"{split}.csv")
    if len(array) != len(photos):
        raise ValueError(f"{folder}/{split}.npy has {len(array)} photos, {split}.csv has {len(photos)}")
    return array, photos


def opened(file: Path | bytes):
    """A shard's Arrow table; a path is mapped into memory."""
    import pyarrow

    return pyarrow.ipc.open_file(file if isinstance(file, bytes) else pyarrow.memory_map(str(file))).read_all()


def numbers(table) -> np.ndarray:
    """The features of an `opened` shard, not copied: float16 of shape (n, features), 0 where there are none."""
    column = table["features"].chunk(0)
    return column.values.to_numpy().reshape(len(column), -1)


class Averages:
    """What the `bottleneck` stage left of a list: `labels` are its photos' class numbers, an int array of shape (n,), and `features`
    is how many of these each photo has."""

    def __init__(self) -> None:
        self.rows = np.load(ROWS, mmap_mode="r")
        self.labels = np.array(self.rows[:, 2])
        self.shards = [numbers(opened(path)) for path in sorted(SHARDS.glob("*.arrow"))]
        self.features = self.shards[0].shape[1]

    def read(self, photos: np.ndarray) -> np.ndarray:
        """The features of the photos of these numbers: float16 of shape (k, features)."""
        features = np.empty((len(photos), self.features), np.float16)
        for place, (shard, row, _) in zip(features, self.rows[photos]):
            place[:] = self.shards[shard][row]
        return features
