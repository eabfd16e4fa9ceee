"""Where photos and shards lie: in a folder, or in a bucket that speaks S3. Credentials and the endpoint are AWS' own settings, of
the machine that reads: environment, ~/.aws, or the role of the instance.
"""

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stages.core import environment
from stages.core.errors import UserError, of_disk
from stages.photos.archive import MAX_PHOTO_BYTES

BUCKET = "s3://"
EXTRA = "s3:// takes what DVC takes for it: .venv/bin/python tools/install.py requirements/s3.txt"
READERS = 16 * environment.THREADS  # photos that are on their way from a bucket at once, so that no core waits for one
TRIES = 5  # of a photo whose bytes break off on the way
CHANGED = "changed since it was listed"
GONE = "No such file or directory"  # as the system says it of a file
ROWS = {
    "PreconditionFailed": CHANGED,
    "412": CHANGED,
    "NoSuchKey": GONE,
    "404": GONE,
    "InvalidObjectState": "archived: restore it first",
}


class Photo(NamedTuple):
    """A photo of a listing: its name, its size in bytes (-1: not listed), and what changes when it does ("": not listed). A name
    holds bytes that are no UTF-8 as `os.fsdecode` does."""

    key: str
    size: int
    etag: str

    def line(self) -> bytes:
        """What digests of a list are taken of."""
        return os.fsencode(f"{self.key}\0{self.size}\0{self.etag}\n")

    def digest(self) -> str:
        """What tells the photo from all others, and from itself once it has changed: 64 bits in hex."""
        return hashlib.sha256(self.line()).hexdigest()[:16]


class Unavailable(Exception):
    """One photo's bytes can't be had, and that is the photo's own fault; the message says why."""


def is_bucket(path: str) -> bool:
    return path.startswith(BUCKET)


def joined(base: str, name: str) -> str:
    """Where a name lies. `base` is "" or ends with a slash."""
    return name if is_bucket(name) or os.path.isabs(name) else base + name


class Folder:
    """A folder that shards are written to; UserError where it is a file."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{path} is a file: name a folder.")

    def names(self, start: str = "") -> Iterator[str]:
        """The names of its files, or of those that start so."""
        if self.path.is_dir():
            yield from (entry.name for entry in list(os.scandir(self.path)) if entry.name.startswith(start) and entry.is_file())

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor, part = tempfile.mkstemp(".part", f".{name}.", self.path)
            try:
                with open(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                os.chmod(part, 0o666 & ~_umask())  # mkstemp's own are for one user
                os.replace(part, self.path / name)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part)
                raise
        except OSError as error:
            raise UserError(of_disk(error) or f"{self.path}: {error.strerror or error}") from None

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


def _umask() -> int:
    os.umask(mask := os.umask(0o077))
    return mask


class Bucket:
    """What lies below a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.bucket, _, prefix = self.url.removeprefix(BUCKET).partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.fs = client()

    def objects(self, start: str = "", **options: str) -> Iterator[tuple[str, int, str]]:
        """Every object whose name starts so as (name, size, etag), in order of the names, page by page. Options are S3's own."""
        more: dict[str, str] = {}
        while True:
            with spoken(self.url):
                page = self.fs.call_s3("list_objects_v2", Bucket=self.bucket, Prefix=self.prefix + start, **options, **more)
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(self.prefix), found["Size"], found["ETag"].strip('"')
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def names(self, start: str = "") -> Iterator[str]:
        """The names of what lies there and starts so, and not of what lies further below, as a folder's files."""
        return (name for name, _, _ in self.objects(start, Delimiter="/"))

    def read(self, name: str) -> bytes | None:
        with spoken(self.url):
            try:
                return fetched(self.fs, self.bucket, self.prefix + name, "")
            except FileNotFoundError as error:
                if code(error) == "NoSuchBucket":
                    raise
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write an object by one PUT: it is there as a whole, or not."""
        with spoken(f"{self.url}/{name}"):
            self.fs.call_s3("put_object", Bucket=self.bucket, Key=self.prefix + name, Body=data)

    def remove(self, name: str) -> None:
        with spoken(f"{self.url}/{name}"):
            self.fs.call_s3("delete_object", Bucket=self.bucket, Key=self.prefix + name)


def at(path: str) -> Folder | Bucket:
    return Bucket(path) if is_bucket(path) else Folder(path)


@functools.cache
def client():
    """The S3 file system of fsspec, one a process: by itself it would make one, with its own connections, for each thread."""
    try:
        import s3fs
    except ImportError:
        raise UserError(EXTRA) from None
    return s3fs.S3FileSystem(use_listings_cache=False, config_kwargs={"max_pool_connections": READERS})


def code(error: BaseException) -> str:
    """S3's own code of an error."""
    return getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", "")


@contextlib.contextmanager
def spoken(url: str) -> Iterator[None]:
    """Say in one line what a bucket answers where it does not do what it is asked for."""
    from botocore.exceptions import BotoCoreError

    again = "The same command goes on where it stopped."
    try:
        yield
    except PermissionError as error:
        raise UserError(f"{url}: no right to do that ({error}). Ask for it, or set other credentials. {again}") from None
    except FileNotFoundError:
        raise UserError(f"{url}: there is no such bucket.") from None
    except (OSError, BotoCoreError) as error:
        raise UserError(f"{url}: {' '.join(str(error).split())}. {again}") from None


def fetched(fs, bucket: str, key: str, etag: str) -> bytes:
    """An object's bytes, by one GET; with an etag If-Match. Raises what s3fs does, and Unavailable where it is too large."""
    from fsspec import asyn
    from s3fs.core import S3_RETRYABLE_ERRORS

    async def get() -> bytes:
        answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, **({"IfMatch": f'"{etag}"'} if etag else {}))
        async with answer["Body"] as body:
            check(answer["ContentLength"])
            return await body.read()

    for left in reversed(range(TRIES)):
        try:
            return asyn.sync(fs.loop, get)
        except S3_RETRYABLE_ERRORS as error:  # s3fs tries again by itself, but not once an answer has begun
            if not left:
                raise OSError(f"{type(error).__name__}: {error}") from None
    raise AssertionError("the last try returns or raises")


def check(size: int) -> None:
    if size > MAX_PHOTO_BYTES:
        raise Unavailable(f"absurdly large: {size / 1e6:.0f} MB")


def stamp(about: os.stat_result) -> str:
    """What changes when a file does, as far as a disk tells."""
    return str(about.st_mtime_ns)


def photo(base: str, listed: Photo) -> bytes:
    """A photo's bytes, as they were when it was listed.

    Raises
    ------
    Unavailable
        If the photo is gone, has changed or can't be read.
    UserError
        If that is no fault of the photo's: no right to the bucket, or no way to it. Then no row says that the photo is broken.
    """
    where = joined(base, listed.key)
    if is_bucket(where):
        bucket, _, key = where.removeprefix(BUCKET).partition("/")
        with spoken(where):
            try:
                return fetched(client(), bucket, key, listed.etag)
            except OSError as error:
                if reason := ROWS.get(code(error)):
                    raise Unavailable(reason) from None
                raise
    try:
        if not stat.S_ISREG(os.stat(where).st_mode):  # a pipe would be waited for
            raise Unavailable("no file")
        with open(where, "rb") as file:
            about = os.fstat(file.fileno())
            if listed.etag and (about.st_size, stamp(about)) != (listed.size, listed.etag):
                raise Unavailable(CHANGED)
            check(about.st_size)
            return file.read()
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from None
