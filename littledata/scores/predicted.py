"""What `evaluate` predicted, photo by photo."""

import csv
from pathlib import Path

import numpy as np

from littledata.core.paths import PREDICTIONS


def read(level: str, split: str, path: Path = PREDICTIONS) -> tuple[list[str], np.ndarray, np.ndarray, list[str]]:
    """A level's predictions for the photos of a split.

    Returns
    -------
    files : list of str
        Relative to data/photos.
    labels : int array of shape (n,)
        The photos' own classes, as numbers.
    probabilities : float array of shape (n, classes)
    classes : list of str
        The classes' names, by number.
    """
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    classes = [name.removeprefix("probability_") for name in header[3:]]
    rows = [row for row in rows if row[0] == level and row[1].startswith(f"{split}/")]
    labels = np.array([classes.index(row[2]) for row in rows])
    return [row[1] for row in rows], labels, np.array([[float(value) for value in row[3:]] for row in rows]), classes
