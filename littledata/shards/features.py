"""A shard of a network's averaged features as an Arrow file, which is mapped into memory: what a classifier of one layer trains on.

EfficientNet-Lite0's are 1,280 numbers a photo: 2.6 GB for a million photos in float16, where VGG16's maps would be 200 GB. The columns
are `file`, `features`, `sha256` of the photo's bytes, and `why_not` where there are no features.
"""

from collections.abc import Sequence

import numpy as np

from littledata.features import activations
from littledata.photos.photo import Photo
from littledata.shards import rows
from littledata.shards.rows import Row

ENDING = ".arrow"


def table(about: dict, origin: str, photos: Sequence[Photo], found: Sequence[Row]) -> bytes:
    """The file, for a network that says in `about` how many features it has."""
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
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, written.schema) as file:
        file.write_table(written)
    return sink.getvalue().to_pybytes()


def read(data: bytes, origin: str) -> dict[str, Row]:
    """A file's rows by their photos' digests, where they are of this origin; those without features left out."""
    found = activations.opened(data)
    of_photos = zip(rows.digests(found.schema.metadata, origin), activations.numbers(found), found["sha256"].to_pylist())
    return {digest: Row(row, None, sha256) for digest, row, sha256 in of_photos if sha256}
