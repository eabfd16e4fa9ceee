"""Where photos and shards lie: in a folder, in a bucket that speaks S3, or in one of Google's. Credentials and the endpoint are AWS'
and Google's own settings, of the machine that reads: environment, ~/.aws or gcloud's, or the role of the instance.
"""

import contextlib
import functools
import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from littledata.core import environment, files
from littledata.core.errors import UserError, of_disk
from littledata.photos import names
from littledata.photos.archive import MAX_PHOTO_BYTES

EXTRA = "{0}:// takes what DVC takes for it: .venv/bin/python tools/install.py requirements/{0}.txt"
READERS = 16 * environment.THREADS  # photos that are on their way from a bucket at once, so that no core waits for one
TRIES = 5  # of a photo whose bytes break off on the way
CHANGED = "changed since it was listed"
GONE = "No such file or directory"  # as the system says it of a file


class Photo(NamedTuple):
    """A photo of a listing: its name, its size in bytes (-1: not listed), and what changes when it does ("": not listed). A name
    holds bytes that are no UTF-8 as `os.fsdecode` does. Its class and its split are "" where the list does not give them."""

    key: str
    size: int
    etag: str
    kind: str = ""
    split: str = ""

    @property
    def name(self) -> str:
        """The name as people read it."""
        return names.of_file(os.fsencode(self.key))

    def line(self) -> bytes:
        """What digests of a list are taken of."""
        return os.fsencode(f"{self.key}\0{self.size}\0{self.etag}\n")

    def digest(self) -> str:
        """What tells the photo from all others, and from itself once it has changed: 64 bits in hex."""
        return hashlib.sha256(self.line()).hexdigest()[:16]


class Unavailable(Exception):
    """One photo's bytes can't be had, and that is the photo's own fault; the message says why."""


def is_bucket(path: str) -> bool:
    return path.startswith(tuple(STORES))


def joined(base: str, name: str) -> str:
    """Where a name lies. `base` is "" or ends with a slash. In a bucket a name that begins with a slash is one like any other."""
    return name if is_bucket(name) or (os.path.isabs(name) and not is_bucket(base)) else base + name


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
            with files.whole(self.path / name) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(of_disk(error) or f"{self.path}: {error.strerror or error}") from None

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


class S3:
    """What speaks S3, by s3fs. `reason` says of an error why a photo has no bytes, where that is the photo's own fault."""

    rows = {
        "PreconditionFailed": CHANGED,
        "412": CHANGED,
        "NoSuchKey": GONE,
        "404": GONE,
        "InvalidObjectState": "archived: restore it first",
    }

    def __init__(self) -> None:
        self.fs = client()
        from botocore.exceptions import BotoCoreError

        self.errors = (OSError, BotoCoreError)

    def reason(self, error: Exception) -> str | None:
        return self.rows.get(code(error))

    def page(self, bucket: str, prefix: str, below: bool, token: str) -> tuple[list[tuple[str, int, str]], str | None]:
        """Some objects as (key, size, etag), and the token of the next page, if there is one."""
        more = ({"ContinuationToken": token} if token else {}) | ({} if below else {"Delimiter": "/"})
        page = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
        found = [(about["Key"], about["Size"], about["ETag"].strip('"')) for about in page.get("Contents", ())]
        return found, page["NextContinuationToken"] if page.get("IsTruncated") else None

    def get(self, bucket: str, key: str, etag: str = "") -> bytes:
        """An object's bytes, by one GET; with an etag If-Match. Raises what s3fs does, and Unavailable where it is too large."""
        from fsspec import asyn
        from s3fs.core import S3_RETRYABLE_ERRORS

        async def get() -> bytes:
            answer = await self.fs._call_s3("get_object", Bucket=bucket, Key=key, **({"IfMatch": f'"{etag}"'} if etag else {}))
            async with answer["Body"] as body:
                check(answer["ContentLength"])
                return await body.read()

        for left in reversed(range(TRIES)):
            try:
                return asyn.sync(self.fs.loop, get)
            except S3_RETRYABLE_ERRORS as error:  # s3fs tries again by itself, but not once an answer has begun
                if not left:
                    raise OSError(f"{type(error).__name__}: {error}") from None
        raise AssertionError("the last try returns or raises")

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data)

    def delete(self, bucket: str, key: str) -> None:
        self.fs.call_s3("delete_object", Bucket=bucket, Key=key)


class Google:
    """Google Cloud Storage, by gcsfs, as `S3` has it. An object's etag is here its generation, the number of its last writing."""

    def __init__(self) -> None:
        self.fs = google_client()
        from aiohttp import ClientError
        from gcsfs.retry import HttpError
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        self.errors = (OSError, ValueError, HttpError, GoogleAuthError, ClientError, RequestException)  # ValueError: a bad request

    def reason(self, error: Exception) -> str | None:
        # gcsfs makes FileExistsError of Google's 412, which is that a condition does not hold.
        return GONE if isinstance(error, FileNotFoundError) else CHANGED if isinstance(error, FileExistsError) else None

    def _call(self, *words: str, **options):
        try:
            return self.fs.call(*words, **options)
        except OSError as error:
            if str(error).startswith("Forbidden"):
                raise PermissionError(" ".join(str(error).split())) from None
            raise
        except self.errors as error:
            if getattr(error, "code", None) in (401, "401"):
                raise PermissionError(" ".join(str(error).split())) from None
            raise

    def page(self, bucket: str, prefix: str, below: bool, token: str) -> tuple[list[tuple[str, int, str]], str | None]:
        more = ({"pageToken": token} if token else {}) | ({} if below else {"delimiter": "/"})
        page = self._call("GET", "b/{}/o", bucket, prefix=prefix, json_out=True, **more)
        found = [(about["name"], int(about["size"]), str(about["generation"])) for about in page.get("items", ())]
        return found, page.get("nextPageToken")

    def get(self, bucket: str, key: str, etag: str = "") -> bytes:
        condition = {"ifGenerationMatch": etag} if etag else {}
        headers, data = self._call("GET", "b/{}/o/{}", bucket, key, alt="media", **condition)
        check(len(data))
        if etag and headers.get("x-goog-generation", etag) != etag:
            raise Unavailable(CHANGED)
        return data

    def put(self, bucket: str, key: str, data: bytes) -> None:
        upload = f"{self.fs.base.removesuffix('storage/v1/')}upload/storage/v1/b/{{}}/o"
        self._call("POST", upload, bucket, uploadType="media", name=key, data=data)

    def delete(self, bucket: str, key: str) -> None:
        try:
            self._call("DELETE", "b/{}/o/{}", bucket, key)
        except FileNotFoundError:
            pass  # S3 says nothing of it either


STORES = {"s3://": S3, "gs://": Google}


@functools.cache
def client():
    """The S3 file system of fsspec, one a process: by itself it would make one, with its own connections, for each thread."""
    try:
        import s3fs
    except ImportError:
        raise UserError(EXTRA.format("s3")) from None
    return s3fs.S3FileSystem(use_listings_cache=False, config_kwargs={"max_pool_connections": READERS})


@functools.cache
def google_client():
    """As `client`, of Google's."""
    try:
        import gcsfs
    except ImportError:
        raise UserError(EXTRA.format("gs")) from None
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it would print a traceback of what `spoken` says in a line
    return gcsfs.GCSFileSystem(use_listings_cache=False)


def parted(url: str) -> tuple[S3 | Google, str, str]:
    """A bucket's address as the store that it is of, the bucket and the key."""
    scheme = next((scheme for scheme in STORES if url.startswith(scheme)), "")
    bucket, _, key = url.removeprefix(scheme).partition("/")
    if not (scheme and bucket):
        raise UserError(f"{url} names no bucket: expected s3://bucket/prefix, or gs://.")
    return STORES[scheme](), bucket, key


class Bucket:
    """What lies below a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.store, self.bucket, key = parted(url)
        prefix = key.rstrip("/")
        self.prefix = f"{prefix}/" if prefix else ""

    def objects(self, start: str = "", below: bool = True) -> Iterator[tuple[str, int, str]]:
        """Every object whose name starts so as (name, size, etag), in order of the names, page by page. `below`: those that lie
        further below as well."""
        token: str | None = ""
        while token is not None:
            with spoken(self.url):
                page, token = self.store.page(self.bucket, self.prefix + start, below, token)
            yield from ((key.removeprefix(self.prefix), size, etag) for key, size, etag in page)

    def names(self, start: str = "") -> Iterator[str]:
        """The names of what lies there and starts so, and not of what lies further below, as a folder's files."""
        return (name for name, _, _ in self.objects(start, below=False))

    def read(self, name: str) -> bytes | None:
        with spoken(self.url):
            try:
                return self.store.get(self.bucket, self.prefix + name)
            except FileNotFoundError as error:
                if self.store.reason(error) != GONE:  # but the bucket is
                    raise
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write an object by one PUT: it is there as a whole, or not."""
        with spoken(f"{self.url}/{name}"):
            self.store.put(self.bucket, self.prefix + name, data)

    def remove(self, name: str) -> None:
        with spoken(f"{self.url}/{name}"):
            self.store.delete(self.bucket, self.prefix + name)


def at(path: str) -> Folder | Bucket:
    return Bucket(path) if is_bucket(path) else Folder(path)


def code(error: BaseException) -> str:
    """S3's own code of an error."""
    return getattr(error.__cause__, "response", {}).get("Error", {}).get("Code", "")


@contextlib.contextmanager
def spoken(url: str) -> Iterator[None]:
    """Say in one line what a bucket answers where it does not do what it is asked for."""
    again = "The same command goes on where it stopped."
    try:
        yield
    except PermissionError as error:
        raise UserError(f"{url}: no right to do that ({error}). Ask for it, or set other credentials. {again}") from None
    except FileNotFoundError:
        raise UserError(f"{url}: there is no such bucket.") from None
    except parted(url)[0].errors as error:
        raise UserError(f"{url}: {' '.join(str(error).split()) or type(error).__name__}. {again}") from None


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
        check(listed.size)
        store, bucket, key = parted(where)
        with spoken(where):
            try:
                return store.get(bucket, key, listed.etag)
            except OSError as error:
                if reason := store.reason(error):
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
