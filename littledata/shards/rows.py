"""A photo's row in a shard, before it is written and after it is read."""

import json
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from littledata.photos.photo import Photo


class Row(NamedTuple):
    """What a network says of a photo: float array of shape (outputs,), or None and the reason why not. `sha256` is the photo's."""

    numbers: np.ndarray | None
    why_not: str | None = None
    sha256: str = ""


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
