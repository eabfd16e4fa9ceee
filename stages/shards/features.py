"""A shard of a network's averaged features as an Arrow file, which is mapped into memory: what a classifier of one layer trains on.

EfficientNet-Lite0's are 1,280 numbers a photo: 2.6 GB for a million photos in float16, where VGG16's maps would be 200 GB. The columns
are `file`, `features`, `sha256` of the photo's bytes, and `why_not` where there are no features.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.frozen import activations
from stages.shards import rows
from stages.shards.places import Photo
from stages.shards.rows import Row

ENDING = ".arrow"
CONTENT = b"content"  # the digest, in the metadata


def table(about: dict, origin: str, photos: Sequence[Photo], found: Sequence[Row]) -> bytes:
    """The file, for a network that says in `about` how many features it has. Its metadata have a digest of the rest."""
    import pyarrow

    numbers = np.zeros((len(found), about["features"]), np.float16)
    for place, row in zip(numbers, found):
        if row.numbers is not None:
            place[:] = row.numbers
    columns = {
        "file": pyarrow.array(rows.names(photos), pyarrow.string()),
        "features": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(numbers.ravel()), numbers.shape[1]),
        "sha256": pyarrow.array([row.sha256 or None for row in found], pyarrow.string()),
        "why_not": pyarrow.array([row.why_not for row in found], pyarrow.string()),
    }
    written = pyarrow.table(columns, metadata=rows.about(origin, photos))
    written = written.replace_schema_metadata({**written.schema.metadata, CONTENT: _digest(written)})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, written.schema) as file:
        file.write_table(written)
    return sink.getvalue().to_pybytes()


def _digest(table) -> bytes:
    """Of all that a table holds but its own digest."""
    digest = hashlib.sha256(activations.numbers(table))
    others = [table[name].to_pylist() for name in table.column_names if name != "features"]
    about = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items() if name != CONTENT}
    digest.update(json.dumps([others, about], sort_keys=True).encode())
    return digest.hexdigest().encode()


def intact(file: Path | bytes) -> bool:
    """Whether a file holds what was written to it."""
    import pyarrow

    try:
        found = activations.opened(file)
        found.validate(full=True)
        return (found.schema.metadata or {}).get(CONTENT) == _digest(found)
    except (pyarrow.ArrowException, OSError, LookupError, ValueError):
        return False


def read(data: bytes | None, origin: str) -> dict[str, Row]:
    """A file's rows by their photos' digests, where they are of this origin; those without features left out. None of a damaged one."""
    if data is None or not intact(data):
        return {}
    found = activations.opened(data)
    of_photos = zip(rows.digests(found.schema.metadata, origin), activations.numbers(found), found["sha256"].to_pylist())
    return {digest: Row(row, None, sha256) for digest, row, sha256 in of_photos if sha256}
