"""Read and write the CSV files among outputs and plots."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def rows(path: str | Path) -> list[list[str]]:
    """The rows of a CSV file, without its header."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]
