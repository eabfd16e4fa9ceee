"""Lists of photos that people give: CSV and Parquet files, here or in a bucket."""

import csv
import io
import os
from collections.abc import Iterator

from littledata.core.errors import UserError
from littledata.photos import archive, names, places
from littledata.photos.photo import Photo

ENDINGS = (".csv", ".parquet")
NAMES = ("file", "uri", "path")  # what the column of a list may be called


def is_list(path: str) -> bool:
    return path.lower().endswith(ENDINGS)


def photos(source: str, base: str) -> Iterator[Photo]:
    """The photos that a person's list names, relative to `base`, with their classes and splits where it has such columns.

    Raises
    ------
    UserError
        If the list can't be read, or a row names no photo or has a size that is no number.
    """
    for row in _rows(source):
        lowered = {str(key).lower(): value for key, value in row.items()}
        name = next((lowered[column] for column in NAMES if lowered.get(column)), None)
        if name is None:
            known = ", ".join(map(str, row)) or "none"
            raise UserError(
                f"{source}: a row without a photo; expected a column `file`, `uri` or `path`, found the columns {known}."
            )
        size, etag = lowered.get("size"), lowered.get("etag")
        name, placed = str(name), [_text(lowered.get(column)) for column in ("class", "split")]
        if not places.is_bucket(places.joined(base, name)) and not etag:
            yield on_disk(base, name)._replace(kind=placed[0], split=placed[1])
            continue
        try:
            yield Photo(name, -1 if size in (None, "") else int(size), str(etag or "").strip('"'), *placed)
        except ValueError:
            raise UserError(f"{source}: the size of {name} is {size!r}; expected a number of bytes.") from None


def on_disk(base: str, name: str) -> Photo:
    """A file of this machine as a photo."""
    try:
        about = os.stat(places.joined(base, name))
    except OSError:
        return Photo(name, -1, "")  # whoever opens it says why it can't be read
    return Photo(name, about.st_size, archive.stamp(about))


def _text(value: object) -> str:
    return "" if value is None else names.of_file(os.fsencode(str(value)))


def _rows(source: str) -> Iterator[dict]:
    """The rows of a CSV or Parquet file, some at a time."""
    try:
        with _of_bucket(source) if places.is_bucket(source) else open(source, "rb") as file:
            if source.lower().endswith(".csv"):
                text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")  # a name may be any bytes
                yield from csv.DictReader(text)
            else:
                from pyarrow import parquet

                for batch in parquet.ParquetFile(file).iter_batches(1000):
                    yield from batch.to_pylist()
    except OSError as error:
        raise UserError(f"{source} can't be read: {error.strerror or error}") from None
    except (ValueError, csv.Error) as error:  # pyarrow's are ValueErrors
        raise UserError(f"{source} can't be read as a list: {' '.join(str(error).split())}") from None


def _of_bucket(source: str) -> io.BytesIO:
    parent, _, name = source.rpartition("/")
    data = places.Bucket(parent).read(name)
    if data is None:
        raise UserError(f"{source}: there is no such list.")
    return io.BytesIO(data)
