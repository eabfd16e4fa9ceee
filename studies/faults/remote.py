"""A team's object store that fails at every n-th request, loses an object, or has another one in its place."""

import random
import shutil
from collections.abc import Sequence

from studies import s3
from studies.faults.ground import Fault, Ground, brief, rounds, twin

BUCKET = "team"


class Store:
    """An S3 server's application. `every` n-th request fails; 0: none, 1: all."""

    def __init__(self) -> None:
        self.every = self.asked = 0

    def around(self, application) -> "Store":
        self.application = application
        return self

    def __call__(self, environ, start_response):
        self.asked += 1
        if self.every and not self.asked % self.every:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"this store fails on purpose"]
        return self.application(environ, start_response)


def connected(ground: Ground, address: str) -> None:
    """What `make remote` and a user set."""
    for words in (
        ["dvc", "remote", "add", "-q", "-f", "-d", "team", f"s3://{BUCKET}/photos"],
        ["dvc", "remote", "modify", "-q", "team", "verify", "true"],
        ["dvc", "remote", "modify", "--local", "-q", "team", "endpointurl", address],
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
    rng, ground = random.Random(seed), twin(grounds[0], grounds[0].folder.parent / "team")
    faults = [failing, lost, wrong] = [
        Fault(f"a remote {what}")
        for what in ("that fails at every n-th request", "that lost an object", "with another object in its place")
    ]
    pull, to = ("dvc", "repro", "--pull", "--all-pipelines"), Store()
    with s3.server(BUCKET, around=to.around) as environment:
        client = s3.client(environment)
        connected(ground, environment["AWS_ENDPOINT_URL"])
        for _ in rounds(until, 2):
            every = rng.choice([2, 3, 5, 7])
            for command in (("tools.push",), pull):
                to.every = every
                status, said = ground.run(*command, **environment)
                trouble = clear(status, said)
                to.every = 0
                if status:
                    status, said = ground.run(*command, **environment)
                    trouble = trouble or (brief(said) if status else None)
                failing.note(f"every {every}., {command[-1]}", trouble or (ground.wrong() if command == pull else None))
                emptied(ground)
            to.every = 1
            status, said = ground.run(*pull, **environment)
            to.every = 0
            failing.note("every request, repro --pull", clear(status, said) or ground.again(*pull, **environment))
        for number in rounds(until, 1):
            emptied(ground)
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
            keys = [item["Key"] for page in pages for item in page["Contents"] if "/files/md5/" in item["Key"]]
            key, other = rng.sample(keys, 2)
            content, with_other = (client.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in (key, other))
            if number % 2:
                client.delete_object(Bucket=BUCKET, Key=key)
            else:
                client.put_object(Bucket=BUCKET, Key=key, Body=with_other)
            status, said = ground.run(*pull, **environment)
            trouble = clear(status, said)
            client.put_object(Bucket=BUCKET, Key=key, Body=content)
            if status:
                trouble = trouble or ground.again(*pull, **environment)
            (lost if number % 2 else wrong).note(key, trouble or ground.wrong())
    return faults
