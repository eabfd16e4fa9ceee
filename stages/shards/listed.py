"""The photos of a bucket or list, all of them, as `subsample` writes them: sorted by where they lie, each with its class."""

import csv
from collections.abc import Iterator
from pathlib import Path

from stages.shards.places import Photo

LISTED = Path("data/listed.csv")
COLUMNS = ["file", "class", "size", "etag"]


class Listed:
    """What data/listed.csv has, read anew by everybody who goes through it: in flat memory. `count` is how many photos it has; of
    photos from an archive or a folder it has none."""

    def __init__(self) -> None:
        self.count = sum(1 for _ in self.kinds())

    def __iter__(self) -> Iterator[Photo]:
        for row in self._rows():
            yield Photo(row["file"], int(row["size"]), row["etag"])

    def kinds(self) -> Iterator[str]:
        """The photos' classes, in the same order."""
        return (row["class"] for row in self._rows())

    def _rows(self) -> Iterator[dict[str, str]]:
        with open(LISTED, newline="", encoding="utf-8", errors="surrogateescape") as file:
            yield from csv.DictReader(file)
