"""A shard of predictions as a Parquet file: `file`, `class`, a `probability_` of every class, and `why_not` where there is no answer."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow
from pyarrow import parquet

from littledata.photos.photo import Photo
from littledata.shards import rows
from littledata.shards.rows import Row

PROBABILITY = "probability_"


def table(about: Mapping, origin: str, photos: Sequence[Photo], computed: Sequence[Row]) -> bytes:
    """The file, for a classifier that says what it is in `about`."""
    answers, classes = [row.numbers for row in computed], about["classes"]
    columns = {
        "file": pyarrow.array(rows.names(photos), pyarrow.string()),
        "class": pyarrow.array([None if row is None else classes[row.argmax()] for row in answers], pyarrow.string()),
    }
    for number, name in enumerate(classes):
        of_class = [None if row is None else row[number] for row in answers]
        columns[PROBABILITY + name] = pyarrow.array(of_class, pyarrow.float32())
    columns["why_not"] = pyarrow.array([row.why_not for row in computed], pyarrow.string())
    written = pyarrow.table(columns, metadata=rows.about(origin, photos))
    parquet.write_table(written, file := io.BytesIO(), compression="zstd")
    return file.getvalue()


def read(data: bytes, origin: str) -> dict[str, Row]:
    """A file's rows by their photos' digests, where they are of this origin; those without an answer left out."""
    shard = parquet.read_table(io.BytesIO(data))
    digests = rows.digests(shard.schema.metadata, origin)
    of_classes = [shard[name].to_numpy() for name in shard.column_names if name.startswith(PROBABILITY)]
    probabilities = np.stack(of_classes, axis=1) if digests else []
    answered = zip(digests, probabilities, shard["why_not"].to_pylist())
    return {digest: Row(row) for digest, row, why_not in answered if why_not is None}


FORMAT = rows.Format(".parquet", table, read)
