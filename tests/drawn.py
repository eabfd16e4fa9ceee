"""The stages `download` and `subsample`, called in this process, in the folder that one is in."""

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from littledata.core import params, tables
from littledata.core.errors import UserError
from littledata.photos import download
from littledata.splits import dataset
from littledata.splits import draw as drawing
from stages import download as run_download
from stages import subsample as run_subsample

PLAIN = drawing.SHARES | {"remaining": False, "parts": 0, "part": 1, "part_is": "validation", "order": "random", "seed": 1}


def photo(number: int) -> bytes:
    """A real JPEG, another one for every number."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (3, 3, 3), np.uint8)
    Image.fromarray(pixels).resize((24, 24), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


PHOTOS = [photo(number) for number in range(420)]
PIXEL = b"P6 1 1 255 abc"  # a picture that is too small


def fill(folder: Path, *paths: str | bytes, data: Iterable[bytes] = PHOTOS) -> Path:
    """A folder with a photo at each path, another one each."""
    for path, content in zip(paths, data):
        target = os.path.join(os.fsencode(folder), os.fsencode(path))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)
    return folder


def many(*folders: str, each: int = 5) -> list[str]:
    return [f"{folder}/{number}.jpg" for folder in folders for number in range(each)]


def bring(path: object = None, source: str = "path", sha256: str | None = None) -> dict:
    """Run `download`; what its note says."""
    shutil.rmtree(download.RAW, ignore_errors=True)
    run_download.main(SimpleNamespace(download=params.Download(source=source, path=path and str(path), sha256=sha256)))
    return json.loads(download.NOTE.read_text())


def nothing_brought() -> bool:
    return not download.RAW.exists() or not any(download.RAW.iterdir())


def draw(**settings) -> tuple[list[dataset.Photo], dict[str, str]]:
    """Run `subsample` on the photos that were brought; what it drew, and what it skipped why."""
    shutil.rmtree(dataset.PHOTOS, ignore_errors=True)
    run_subsample.main(SimpleNamespace(subsample=params.Subsample(**PLAIN | settings)))
    manifest = dataset.read_manifest()
    assert {photo.path for photo in manifest} == {path for path in dataset.PHOTOS.rglob("*") if path.is_file()}
    assert len(manifest) == len({photo.sha256 for photo in manifest}) == len([photo.read() for photo in manifest])
    return manifest, dict(tables.rows(drawing.SKIPPED))


def listed(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def drawn(folder: Path, *paths: str | bytes, **settings) -> tuple[list[dataset.Photo], dict[str, str]]:
    """Put photos at these paths of a folder, bring it, and draw from it."""
    bring(fill(folder, *paths))
    return draw(**settings)


@contextlib.contextmanager
def one_line(said: str) -> Iterator[None]:
    """Expect an error for people: one line that says this."""
    with pytest.raises(UserError, match=said) as error:
        yield
    assert "\n" not in str(error.value)
