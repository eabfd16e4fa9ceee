"""The drawn photos and their manifest: which photo, of which class, in which split."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from littledata.core import tables
from littledata.core.errors import UserError

PHOTOS = Path("data/photos")
MANIFEST = Path("data/manifest.csv")
SPLITS = ("train", "validation", "test")
REST = "rest"  # all other photos, where params ask for them


@dataclass(frozen=True)
class Photo:
    """A row of the manifest. `file` is relative to data/photos, `original` is the name in the archive."""

    file: str
    kind: str
    split: str
    original: str
    sha256: str

    @property
    def path(self) -> Path:
        return PHOTOS / self.file

    def read(self) -> bytes:
        """The file's bytes.

        Raises
        ------
        UserError
            If they are not those that were drawn, as after an edit in place through a link.
        """
        data = self.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise UserError(
                f"{self.path}: damaged, or edited by hand: not the photo that {MANIFEST} names. `make mend` removes it; then run "
                "`dvc repro`."
            )
        return data


def write_manifest(photos: Iterable[Photo], path: Path = MANIFEST) -> None:
    header = ["class" if field.name == "kind" else field.name for field in fields(Photo)]
    tables.write(path, header, map(astuple, photos))


def read_manifest(path: Path = MANIFEST) -> list[Photo]:
    """All photos, in the order in which every array has them."""
    with open(path, newline="", encoding="utf-8") as file:
        return [Photo(*row) for row in list(csv.reader(file))[1:]]


def class_names(photos: Sequence[Photo]) -> list[str]:
    """The classes in the order of their labels."""
    return sorted({photo.kind for photo in photos})


def splits(photos: Sequence[Photo]) -> list[str]:
    """The splits that have photos, in order."""
    return [split for split in (*SPLITS, REST) if any(photo.split == split for photo in photos)]


def of_split(photos: Sequence[Photo], split: str) -> list[Photo]:
    return [photo for photo in photos if photo.split == split]


def labels(photos: Sequence[Photo], classes: Sequence[str]) -> np.ndarray:
    """The number of each photo's class: int array of shape (n,)."""
    return np.array([classes.index(photo.kind) for photo in photos])
