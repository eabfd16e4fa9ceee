"""Tables: the CSV files among outputs and plots, and Markdown's."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from littledata.core import files


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a CSV file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as binary, io.TextIOWrapper(binary, encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def rows(path: str | Path) -> list[list[str]]:
    """The rows of a CSV file, without its header."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def plain(text: object) -> str:
    """Text that Markdown shows as it is, in one line: for names of people's files and classes."""
    return re.sub(r"([\\`*_<>\[\]|~$&])", r"\\\1", " ".join(str(text).splitlines()))


def markdown(header: Sequence[str], body: Iterable[Sequence]) -> str:
    """A Markdown table. Its cells are Markdown: what comes from people goes through `plain`."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in [header, ["---"] * len(header), *body])
