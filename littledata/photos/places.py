"""Where photos and shards lie: in a folder, in a bucket that speaks S3, or in one of Google's. Credentials and the endpoint are AWS'
and Google's own settings, of the machine that reads: environment, ~/.aws or gcloud's, or the role of the instance.
"""

import contextlib
import functools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from littledata.core import environment, files
from littledata.core.errors import UserError, of_disk
from littledata.photos.archive import stamp
from littledata.photos.photo import Photo, too_large

EXTRA = "{0}:// takes what DVC takes for it: .venv/bin/python tools/install.py requirements/{0}.txt"
READERS = 16 * environment.THREADS  # photos that are on their way from a bucket at once, so that no core waits for one
TRIES = 5  # of a photo whose bytes break off on the way
CHANGED = "changed since it was listed"
GONE = "No such file or directory"  # as the system says it of a file
ARCHIVED = "archived: restore it first"
NO_BUCKET = "there is no such bucket"
NO_RIGHT = "no right to do that"


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
    """What speaks S3, by AWS' own client.

    `errors` are all that it raises where it does not do what it is asked for, and `why` says of one, where that is known, which of the
    reasons above it is.
    """

    CODES = {
        "PreconditionFailed": CHANGED, "412": CHANGED, "NoSuchKey": GONE, "404": GONE, "NoSuchBucket": NO_BUCKET,
        "InvalidObjectState": ARCHIVED,
    }  # fmt: skip

    def __init__(self) -> None:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
        from botocore.session import Session

        self.errors, self.broken = (BotoCoreError, ClientError), (HTTPClientError, IncompleteReadError)
        self.client = Session().create_client("s3", config=Config(max_pool_connections=READERS))

    def why(self, error: Exception) -> str | None:
        answer = getattr(error, "response", {})
        refused = answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in (401, 403)
        return self.CODES.get(answer.get("Error", {}).get("Code"), NO_RIGHT if refused else None)

    def objects(self, bucket: str, prefix: str, below: bool) -> Iterator[Photo]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, **({} if below else {"Delimiter": "/"})
        )
        for page in pages:
            yield from (Photo(about["Key"], about["Size"], about["ETag"].strip('"')) for about in page.get("Contents", ()))

    def get(self, bucket: str, key: str, etag: str) -> bytes:
        condition = {"IfMatch": f'"{etag}"'} if etag else {}
        for left in reversed(range(TRIES)):
            answer = self.client.get_object(Bucket=bucket, Key=key, **condition)
            with contextlib.closing(answer["Body"]) as body:
                check(answer["ContentLength"])
                try:
                    return body.read()
                except self.broken:  # the client tries again by itself, but not once an answer has begun
                    if not left:
                        raise
        raise AssertionError("the last try returns or raises")

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def delete(self, bucket: str, key: str) -> None:
        self.client.delete_object(Bucket=bucket, Key=key)


class Google:
    """Google Cloud Storage by its own client, as `S3` has it. An object's etag is here its generation, the number of its last
    writing."""

    def __init__(self) -> None:
        from google.api_core.exceptions import GoogleAPIError, NotFound
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.cloud.storage import Client
        from requests import RequestException

        self.errors, self.missing = (ValueError, GoogleAPIError, GoogleAuthError, RequestException), NotFound
        try:
            self.client = Client(project=None)
        except DefaultCredentialsError:  # a bucket may be public
            self.client = Client.create_anonymous_client()

    def why(self, error: Exception) -> str | None:
        missing = NO_BUCKET if "bucket does not exist" in str(error) else GONE
        return {412: CHANGED, 404: missing, 401: NO_RIGHT, 403: NO_RIGHT}.get(getattr(error, "code", None))

    def objects(self, bucket: str, prefix: str, below: bool) -> Iterator[Photo]:
        for blob in self.client.list_blobs(bucket, prefix=prefix, delimiter=None if below else "/"):
            yield Photo(blob.name, blob.size, str(blob.generation))

    def get(self, bucket: str, key: str, etag: str) -> bytes:
        data = self.client.bucket(bucket).blob(key).download_as_bytes(if_generation_match=int(etag) if etag else None)
        check(len(data))
        return data

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.bucket(bucket).blob(key).upload_from_string(data, "application/octet-stream")

    def delete(self, bucket: str, key: str) -> None:
        with contextlib.suppress(self.missing):  # S3 says nothing of it either
            self.client.bucket(bucket).blob(key).delete()


STORES: dict[str, type[S3] | type[Google]] = {"s3://": S3, "gs://": Google}


@functools.cache
def store(scheme: str) -> S3 | Google:
    """The client of a cloud, one a process."""
    try:
        return STORES[scheme]()
    except ImportError:
        raise UserError(EXTRA.format(scheme.removesuffix("://"))) from None


class Bucket:
    """What lies below a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.store, self.bucket, key = parted(url)
        prefix = key.rstrip("/")
        self.prefix = f"{prefix}/" if prefix else ""

    def objects(self, start: str = "", below: bool = True) -> Iterator[Photo]:
        """Every object whose name starts so, in order of the names. `below`: those that lie further below as well."""
        with spoken(self.url, self.store):
            for photo in self.store.objects(self.bucket, self.prefix + start, below):
                yield photo._replace(key=photo.key.removeprefix(self.prefix))

    def names(self, start: str = "") -> Iterator[str]:
        """The names of what lies there and starts so, and not of what lies further below, as a folder's files."""
        return (photo.key for photo in self.objects(start, below=False))

    def read(self, name: str) -> bytes | None:
        try:
            with spoken(self.url, self.store, of_photo=True):
                return self.store.get(self.bucket, self.prefix + name, "")
        except Unavailable as error:
            if str(error) == GONE:
                return None
            raise UserError(f"{self.url}/{name}: {error}.") from None

    def write(self, name: str, data: bytes) -> None:
        """Write an object by one PUT: it is there as a whole, or not."""
        with spoken(f"{self.url}/{name}", self.store):
            self.store.put(self.bucket, self.prefix + name, data)

    def remove(self, name: str) -> None:
        with spoken(f"{self.url}/{name}", self.store):
            self.store.delete(self.bucket, self.prefix + name)


def parted(url: str) -> tuple[S3 | Google, str, str]:
    """A bucket's address as the store that it is of, the bucket and the key."""
    scheme = next((scheme for scheme in STORES if url.startswith(scheme)), "")
    bucket, _, key = url.removeprefix(scheme).partition("/")
    if not (scheme and bucket):
        raise UserError(f"{url} names no bucket: expected s3://bucket/prefix, or gs://.")
    return store(scheme), bucket, key


def at(path: str) -> Folder | Bucket:
    return Bucket(path) if is_bucket(path) else Folder(path)


@contextlib.contextmanager
def spoken(url: str, store: S3 | Google, of_photo: bool = False) -> Iterator[None]:
    """Say in one line what a bucket answers where it does not do what it is asked for; Unavailable where a photo is read and that is
    its own fault."""
    again = "The same command goes on where it stopped."
    try:
        yield
    except store.errors as error:
        why, text = store.why(error), " ".join(str(error).split()) or type(error).__name__
        if of_photo and why in (CHANGED, GONE, ARCHIVED):
            raise Unavailable(why) from None
        if why in (GONE, NO_BUCKET):
            raise UserError(f"{url}: {NO_BUCKET}.") from None
        if why == NO_RIGHT:
            raise UserError(f"{url}: {why} ({text}). Ask for it, or set other credentials. {again}") from None
        raise UserError(f"{url}: {text}. {again}") from None


def check(size: int) -> None:
    """Raise Unavailable of a photo that is too large."""
    if reason := too_large(size):
        raise Unavailable(reason)


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
        with spoken(where, store, of_photo=True):
            return store.get(bucket, key, listed.etag)
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
