"""What a network says of photos, row by row, and the format of a shard's file."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from littledata.core import environment
from littledata.export.classifier import Network
from littledata.photos import archive, places
from littledata.photos.photo import Photo
from littledata.pictures import images

AHEAD = 2 * environment.THREADS  # photos that are computed before they are asked for
Item = TypeVar("Item")
Answers = Iterator[tuple[Item, "Row"]]


class Row(NamedTuple):
    """A photo's numbers: float array of shape (outputs,), or None and the reason why not. `sha256` is that of the photo's file."""

    numbers: np.ndarray | None
    why_not: str | None = None
    sha256: str = ""


def answers(
    network: Network, items: Iterable[Item], data: Callable[[Item], bytes], name=str, readers=environment.THREADS
) -> Answers:
    """Each item with its row, in order and in flat memory. A photo is computed by one thread, so its row depends on it alone.

    Parameters
    ----------
    network : Network
    items : iterable
    data : callable
        An item's photo. Its OSError, archive.Unreadable or places.Unavailable is a reason why there are no numbers.
    name : callable
        The photo's name, whose ending tells a RAW photo.
    readers : int
        How many photos are read at once.
    """

    def read(item: Item) -> tuple[Item, bytes | Row]:
        try:
            return item, data(item)
        except OSError as error:
            return item, Row(None, error.strerror or str(error))
        except (archive.Unreadable, places.Unavailable) as error:
            return item, Row(None, str(error))

    def compute(contents: tuple[Item, bytes | Row]) -> tuple[Item, Row]:
        item, photo = contents
        if isinstance(photo, Row):
            return item, photo
        try:
            numbers = network.outputs(network.read(photo, name(item))[None])[0]
        except images.UnreadablePhoto as error:
            return item, Row(None, str(error))
        return item, Row(numbers, None, hashlib.sha256(photo).hexdigest())

    with ThreadPoolExecutor(readers) as reading, ThreadPoolExecutor(environment.THREADS) as computing:
        yield from environment.ahead(computing, compute, environment.ahead(reading, read, items, readers), AHEAD)


@dataclass(frozen=True)
class Format:
    """A shard's file. Both functions are a module's own, so that they reach a cluster's workers by their names.

    ending : of the files' names
    table : the file's bytes, of what the network says it is, the rows' origin, the photos and their rows
    read : of such bytes and an origin the rows by their photos' digests, those without numbers left out
    """

    ending: str
    table: Callable[[Mapping, str, Sequence[Photo], Sequence[Row]], bytes]
    read: Callable[[bytes, str], dict[str, Row]]


def names(photos: Iterable[Photo]) -> list[str]:
    """The photos' names as UTF-8, which is all that a column may hold: a disk may have names in any encoding."""
    return [os.fsencode(photo.key).decode(errors="backslashreplace") for photo in photos]


def about(origin: str, photos: Sequence[Photo]) -> dict[str, str]:
    """A shard's metadata: what its rows depend on, and which photo each of them is of."""
    return {"origin": origin, "photos": json.dumps([photo.digest() for photo in photos], separators=(",", ":"))}


def digests(metadata: dict[bytes, bytes] | None, origin: str) -> list[str]:
    """The photos that a shard's metadata name; none where its rows are of another origin."""
    metadata = metadata or {}
    return json.loads(metadata[b"photos"]) if metadata.get(b"origin") == origin.encode() else []
