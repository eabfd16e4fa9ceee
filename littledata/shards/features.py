"""A shard of a network's averaged features as an Arrow file, which is mapped into memory: what a classifier of one layer trains on.

EfficientNet-Lite0's are 1,280 numbers a photo: 2.6 GB for a million photos in float16, where VGG16's maps would be 200 GB. The columns
are `file`, `features`, `sha256` of the photo's bytes, and `why_not` where there are no features.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow

from littledata.features import activations
from littledata.photos.photo import Photo
from littledata.shards import rows
from littledata.shards.rows import Row


def table(about: Mapping, origin: str, photos: Sequence[Photo], computed: Sequence[Row]) -> bytes:
    """The file, for a network that says in `about` how many features it has."""
    features = np.zeros((len(computed), about["features"]), np.float16)
    for place, row in zip(features, computed):
        if row.numbers is not None:
            place[:] = row.numbers
    columns = {
        "file": pyarrow.array(rows.names(photos), pyarrow.string()),
        "features": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.ravel()), features.shape[1]),
        "sha256": pyarrow.array([row.sha256 or None for row in computed], pyarrow.string()),
        "why_not": pyarrow.array([row.why_not for row in computed], pyarrow.string()),
    }
    written = pyarrow.table(columns, metadata=rows.about(origin, photos))
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, written.schema) as file:
        file.write_table(written)
    return sink.getvalue().to_pybytes()


def read(data: bytes, origin: str) -> dict[str, Row]:
    """A file's rows by their photos' digests, where they are of this origin; those without features left out."""
    shard = activations.opened(data)
    digests, features = rows.digests(shard.schema.metadata, origin), activations.numbers(shard)
    return {digest: Row(row, None, sha256) for digest, row, sha256 in zip(digests, features, shard["sha256"].to_pylist()) if sha256}


FORMAT = rows.Format(".arrow", table, read)
