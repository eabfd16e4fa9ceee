"""A team's object store that fails at every n-th request, loses an object, or has another one in its place."""

import contextlib
import itertools
import random
import shutil
from collections.abc import Iterator

from studies import s3
from studies.faults.ground import Ground, Place, Tried, brief, clear, kind

NUMBERS = itertools.count()
PUSH, PULL = ("tools.push",), ("dvc", "repro", "--pull", "--all-pipelines")


class Store:
    """An S3 server's application. `every` n-th request fails; 0: none, 1: all. All servers here share their buckets, so each has one of
    its own."""

    def __init__(self) -> None:
        self.bucket, self.every, self.asked = f"team{next(NUMBERS)}", 0, 0

    def around(self, application) -> "Store":
        self.application = application
        return self

    def __call__(self, environ, start_response):
        self.asked += 1
        if self.every and not self.asked % self.every:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"this store fails on purpose"]
        return self.application(environ, start_response)


@contextlib.contextmanager
def connected(place: Place) -> Iterator[tuple[Ground, Store, dict[str, str]]]:
    """A ground with a remote, as `make remote` and a user set it; its store, and the environment that it takes."""
    ground, store = place.ground(), Store()
    with s3.server(store.bucket, around=store.around) as environment:
        for words in (
            ["add", "-q", "--local", "-d", "team", f"s3://{store.bucket}/photos"],
            ["modify", "-q", "--local", "team", "verify", "true"],
            ["modify", "-q", "--local", "team", "endpointurl", environment["AWS_ENDPOINT_URL"]],
        ):
            ground.run("dvc", "remote", *words)
        yield ground, store, environment


def emptied(ground: Ground) -> None:
    """As a colleague's fresh clone: nothing in the cache, nothing in the workspace."""
    for name in (".dvc/cache", ".dvc/tmp", "data", "models"):
        shutil.rmtree(ground.folder / name, ignore_errors=True)
    ground.git("checkout", "-q", "-f", "main")  # what Git has in these


@kind("a remote that fails at every n-th request")
def failing(place: Place, rng: random.Random) -> Iterator[Tried]:
    every = rng.choice([1, 2, 3, 5, 7])
    with connected(place) as (ground, store, environment):
        for command in PUSH, PULL:
            store.every = every
            status, printed = ground.run(*command, **environment)
            failure, store.every = clear(status, printed), 0
            if status:
                status, printed = ground.run(*command, **environment)
                failure = failure or (brief(printed) if status else None)
            yield Tried(f"every {every}., {command[-1]}", failure or ground.wrong())
            emptied(ground)


def without(instead: bool, place: Place, rng: random.Random) -> Iterator[Tried]:
    """Remove an object, or put another one's bytes in its place, pull, and pull again from the whole store."""
    with connected(place) as (ground, store, environment):
        ground.run(*PUSH, **environment)
        client = s3.client(environment)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket)
        keys = [item["Key"] for page in pages for item in page["Contents"] if "/files/md5/" in item["Key"]]
        key, other = rng.sample(keys, 2)
        content, another = (client.get_object(Bucket=store.bucket, Key=name)["Body"].read() for name in (key, other))
        if instead:
            client.put_object(Bucket=store.bucket, Key=key, Body=another)
        else:
            client.delete_object(Bucket=store.bucket, Key=key)
        emptied(ground)
        status, printed = ground.run(*PULL, **environment)
        client.put_object(Bucket=store.bucket, Key=key, Body=content)
        failure = clear(status, printed) or (ground.again(*PULL, **environment) if status else ground.wrong())
        yield Tried(key, failure)


kind("a remote that lost an object", False)(without)
kind("a remote with another object in its place", True)(without)
