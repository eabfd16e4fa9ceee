"""The photos that are meant, sorted by name, the file that holds such a list, and how it is cut into shards."""

import csv
import hashlib
import io
import itertools
import os
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from littledata.core.errors import UserError
from littledata.core.progress import progress
from littledata.photos import archive, names, places
from littledata.photos.places import Photo
from littledata.pictures import kinds

LISTS = (".csv", ".parquet")
NAMES = ("file", "uri", "path")  # what the column of a list may be called
COLUMNS = ("file", "class", "split", "size", "etag")  # of a list that is written
AS_BYTES = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}  # a name may be any bytes


# Of a photo that is listed twice the first line counts. Where another one gives it another class or split, that is noted.
ADD = """INSERT INTO photos VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT DO UPDATE
         SET again = excluded.kind || CASE excluded.split WHEN '' THEN '' ELSE ' in ' || excluded.split END
         WHERE (kind, split) IS NOT (excluded.kind, excluded.split)"""


def on_disk(definition: str) -> sqlite3.Connection:
    """A table `photos` on disk: a million photos take 0.1 to 0.2 GB of the temporary folder and nothing of the memory."""
    table = sqlite3.connect("", isolation_level=None)  # SQLite removes it with the connection, or with this process
    table.execute("PRAGMA journal_mode = OFF")
    table.execute("PRAGMA synchronous = OFF")
    table.execute(f"CREATE TABLE photos {definition}")
    return table


class Paths(Protocol):
    """Pictures' paths, and what is none, counted by its ending."""

    left_out: Counter

    def __iter__(self) -> Iterator[str]: ...


class Listing:
    """Photos, held on disk.

    Parameters
    ----------
    source : str
        A folder or s3://bucket/prefix, with all below it, or a list that is a CSV or Parquet file, here or in a bucket. A list has a
        column `file`, `uri` or `path`, of s3:// addresses or of files, relative to the list; and, if it is to be noticed that one
        has changed, their `size` and `etag`. Its columns `class` and `split` are taken as they are.
    below : callable
        Gives the paths of the pictures in a folder of this machine, as `Paths`.

    `base` is what the photos' names are relative to, `count` how many there are, `sha256` the digest of their names, sizes and etags,
    `left_out` what is no photo, counted by its ending.

    Raises
    ------
    UserError
        If there is no photo, or the source can't be listed.
    """

    def __init__(self, source: str, below: Callable[[str], Paths]) -> None:
        self.source, self.left_out = source, Counter()
        self.table = on_disk("(key BLOB PRIMARY KEY, size INTEGER, etag TEXT, kind TEXT, split TEXT, again TEXT) WITHOUT ROWID")
        found = self._found(below)
        self.table.execute("BEGIN")
        with progress(None, "listed") as bar:
            while some := list(itertools.islice(found, 1000)):
                self.table.executemany(ADD, ((os.fsencode(photo.key), *photo[1:]) for photo in some))
                bar.update(len(some))
        self.table.execute("COMMIT")
        self.count, digest = 0, hashlib.sha256()
        for photo in self:
            self.count += 1
            digest.update(photo.line())
        self.sha256 = digest.hexdigest()
        if not self.count:
            others = f": it holds {archive.counted(self.left_out)}" if self.left_out else ""
            raise UserError(f"no picture in {source}{others}")

    def __enter__(self) -> "Listing":
        return self

    def __exit__(self, *_) -> None:
        self.table.close()

    def __iter__(self) -> Iterator[Photo]:
        """The photos in order of their names, as bytes."""
        for key, *about in self.table.execute("SELECT key, size, etag, kind, split FROM photos ORDER BY key"):
            yield Photo(os.fsdecode(key), *about)

    def _found(self, below: Callable[[str], Paths]) -> Iterator[Photo]:
        source = self.source
        if source.lower().endswith(LISTS):
            parent = source.rpartition("/")[0] if places.is_bucket(source) else os.path.dirname(os.path.abspath(source))
            self.base = f"{parent}/"
            return _listed(source, self.base)
        if places.is_bucket(source):
            bucket = places.Bucket(source)
            self.base = f"{bucket.url}/"
            return self._in_bucket(bucket)
        if not os.path.isdir(source):
            raise UserError(f"{source} is no folder: expected one, s3://bucket/prefix, or a list that is a CSV or Parquet file.")
        self.base = os.path.abspath(source).rstrip("/") + "/"
        paths = below(self.base)
        self.left_out = paths.left_out
        return (_on_disk(self.base, path.removeprefix(self.base)) for path in paths)

    def _in_bucket(self, bucket: places.Bucket) -> Iterator[Photo]:
        """The objects that may be pictures by their names; those without an ending are, and are looked into when it is their turn."""
        for name, size, etag in bucket.objects():
            if not name or name.endswith("/"):
                continue  # how consoles make a folder
            ending = names.ending(name)
            if where := names.system(name):
                self.left_out[where] += 1
            elif ending and kinds.of(name, b"") is None:
                self.left_out[ending] += 1
            else:
                yield Photo(name, size, etag)


def _on_disk(base: str, name: str) -> Photo:
    try:
        about = os.stat(places.joined(base, name))
    except OSError:
        return Photo(name, -1, "")  # whoever opens it says why it can't be read
    return Photo(name, about.st_size, places.stamp(about))


def _listed(source: str, base: str) -> Iterator[Photo]:
    """The photos that a list names."""
    for row in _rows(source):
        lowered = {str(key).lower(): value for key, value in row.items()}
        name = next((lowered[column] for column in NAMES if lowered.get(column)), None)
        if name is None:
            known = ", ".join(map(str, row)) or "none"
            raise UserError(
                f"{source}: a row without a photo; expected a column `file`, `uri` or `path`, found the columns {known}."
            )
        size, etag = lowered.get("size"), lowered.get("etag")
        name, given = str(name), [_text(lowered.get(column)) for column in ("class", "split")]
        if not places.is_bucket(places.joined(base, name)) and not etag:
            yield _on_disk(base, name)._replace(kind=given[0], split=given[1])
            continue
        try:
            yield Photo(name, -1 if size in (None, "") else int(size), str(etag or "").strip('"'), *given)
        except ValueError:
            raise UserError(f"{source}: the size of {name} is {size!r}; expected a number of bytes.") from None


def _text(value: object) -> str:
    return "" if value is None else names.of_file(os.fsencode(str(value)))


def _rows(source: str) -> Iterator[dict]:
    """The rows of a CSV or Parquet file, some at a time."""
    try:
        with _of_bucket(source) if places.is_bucket(source) else open(source, "rb") as file:
            if source.lower().endswith(".csv"):
                yield from csv.DictReader(io.TextIOWrapper(file, **AS_BYTES | {"encoding": "utf-8-sig"}))
            else:
                from pyarrow import parquet

                for batch in parquet.ParquetFile(file).iter_batches(1000):
                    yield from batch.to_pylist()
    except UserError:
        raise
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


def write(file: BinaryIO, photos: Iterable[Photo]) -> None:
    """Write a list of photos: a CSV file with `COLUMNS`."""
    text = io.TextIOWrapper(file, **AS_BYTES)
    writer = csv.writer(text)  # its lines end with \r\n: else a \r in a name would end one
    writer.writerow(COLUMNS)
    writer.writerows((photo.key, photo.kind, photo.split, photo.size, photo.etag) for photo in photos)
    text.detach()


def read(path: Path) -> Iterator[Photo]:
    """The photos of a list that `write` wrote, in order and in flat memory."""
    with open(path, **AS_BYTES) as file:
        rows = csv.reader(file)
        next(rows)
        yield from (Photo(key, int(size), etag, kind, split) for key, kind, split, size, etag in rows)


def cut(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    """Cut sorted photos into shards of about `size` photos, never far more than that.

    A photo begins a shard where its name's digest is the lowest of its own, the size / 2 before it and the size / 2 after it. So a
    photo more or less moves no boundary that is further off than that, whatever the rest of the list holds, and no shard has fewer
    photos.
    """
    reach, shard = size // 2, []
    window: deque[tuple[bytes, int]] = deque()  # digests that may still be the lowest, rising
    waiting: deque[Photo] = deque()  # the photos for which the names after them aren't all known
    for number, photo in enumerate(itertools.chain(photos, itertools.repeat(None, reach))):
        if photo is not None:
            digest = hashlib.sha256(os.fsencode(photo.key)).digest()
            while window and window[-1][0] > digest:
                window.pop()
            window.append((digest, number))
            waiting.append(photo)
        middle = number - reach
        if middle < 0 or not waiting:
            continue
        while window[0][1] < middle - reach:
            window.popleft()
        if window[0][1] == middle >= reach and shard and photo is not None:
            yield shard
            shard = []
        shard.append(waiting.popleft())
    if shard:
        yield shard
