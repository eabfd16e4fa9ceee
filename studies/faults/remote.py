"""A team's object store that fails at every n-th request, loses an object, or has another one in its place."""

import contextlib
import logging
import random
import shutil
import threading
from collections.abc import Iterator, Sequence

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from studies.faults.ground import Fault, Ground, brief, rounds, twin

USER = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
ENVIRONMENT = USER | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
BUCKET = "team"


class Store:
    """An S3 server on loopback. `every` n-th request fails; 0: none, 1: all."""

    def __init__(self) -> None:
        self.app, self.every, self.asked = DomainDispatcherApplication(create_backend_app), 0, 0
        self.server = make_server("127.0.0.1", 0, self.answer, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        keys = {"aws_access_key_id": "somebody", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=self.url, **keys)
        self.client.create_bucket(Bucket=BUCKET)

    def answer(self, environ, start_response):
        self.asked += 1
        if self.every and not self.asked % self.every:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"this store fails on purpose"]
        return self.app(environ, start_response)

    def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@contextlib.contextmanager
def store() -> Iterator[Store]:
    found = Store()
    try:
        yield found
    finally:
        found.server.shutdown()


def connected(ground: Ground, to: Store) -> None:
    """What `make remote` and a user set."""
    for words in (
        ["dvc", "remote", "add", "-q", "-f", "-d", "team", f"s3://{BUCKET}/photos"],
        ["dvc", "remote", "modify", "-q", "team", "verify", "true"],
        ["dvc", "remote", "modify", "--local", "-q", "team", "endpointurl", to.url],
    ):
        ground.run(*words)
    ground.git("commit", "-qam", "a remote for the team")


def emptied(ground: Ground) -> None:
    """As a colleague's fresh clone: nothing in the cache, nothing in the workspace."""
    for name in (".dvc/cache", ".dvc/tmp", "data", "models"):
        shutil.rmtree(ground.folder / name, ignore_errors=True)
    ground.git("checkout", "-q", "-f", "main")


def clear(status: int, said: str) -> str | None:
    return f"a traceback: {brief(said)}" if status and "Traceback (most" in said else None


def run(grounds: Sequence[Ground], seconds: dict[str, float], until: float, seed: int) -> list[Fault]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print every request
    rng, ground = random.Random(seed), twin(grounds[0], grounds[0].folder.parent / "team")
    faults = [failing, lost, wrong] = [
        Fault(f"a remote {what}")
        for what in ("that fails at every n-th request", "that lost an object", "with another object in its place")
    ]
    pull = ("dvc", "repro", "--pull", "--all-pipelines")
    with store() as to:
        connected(ground, to)
        for _ in rounds(until, 2):
            every = rng.choice([2, 3, 5, 7])
            for command in (("tools.push",), pull):
                to.every = every
                status, said = ground.run(*command, **ENVIRONMENT)
                trouble = clear(status, said)
                to.every = 0
                if status:
                    status, said = ground.run(*command, **ENVIRONMENT)
                    trouble = trouble or (brief(said) if status else None)
                failing.note(f"every {every}., {command[-1]}", trouble or (ground.wrong() if command == pull else None))
                emptied(ground)
            to.every = 1
            status, said = ground.run(*pull, **ENVIRONMENT)
            to.every = 0
            failing.note("every request, repro --pull", clear(status, said) or ground.again(*pull, **ENVIRONMENT))
        for number in rounds(until, 1):
            emptied(ground)
            keys = [key for key in to.keys() if "/files/md5/" in key]
            key, other = rng.sample(keys, 2)
            content = to.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            if number % 2:
                to.client.delete_object(Bucket=BUCKET, Key=key)
            else:
                with_other = to.client.get_object(Bucket=BUCKET, Key=other)["Body"].read()
                to.client.put_object(Bucket=BUCKET, Key=key, Body=with_other)
            status, said = ground.run(*pull, **ENVIRONMENT)
            trouble = clear(status, said)
            to.client.put_object(Bucket=BUCKET, Key=key, Body=content)
            if status:
                trouble = trouble or ground.again(*pull, **ENVIRONMENT)
            (lost if number % 2 else wrong).note(key, trouble or ground.wrong())
    return faults
