"""The work on a shard: a file that depends on its list of photos, the network and the kind of machine, and on nothing else.

Every photo is computed alone and by one thread, so its row depends on that photo alone: neither on its neighbours in the shard nor
on how many threads or machines there are. Rows that an older shard has are copied from there.
"""

import functools
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import PIL
import pillow_heif
import pyarrow

from littledata.core import environment, files
from littledata.core.errors import UserError
from littledata.export.classifier import Network
from littledata.photos import listing, places
from littledata.photos.photo import Photo
from littledata.shards import rows
from littledata.shards.rows import Format, Row

LIBRARY = Path(__file__).parents[1]
CODE = ("export/classifier.py", "shards/rows.py", "shards/work.py")
ONE_KIND = "Their numbers differ in the last digits: take machines of one kind, with the same pinned packages."
INDEX = "_shards.json"  # which photos lie in which shard; readers of folders of Parquet files pass over what begins with _


@dataclass(frozen=True)
class Job:
    """What all shards have in common.

    format : of their files
    model : sha256 of the network's file, which lies at `path`
    base : what the photos' names are relative to; "" where they are whole
    to : the folder or s3:// address that shards are written to
    machine : the kind of machine that is to compute them, as `machine` gives it
    """

    format: Format
    model: str
    path: str
    base: str
    to: str
    machine: dict[str, str]

    def origin(self) -> str:
        """The digest of all that a row depends on besides its photo."""
        return hashlib.sha256(json.dumps([self.format.ending, self.model, self.machine], sort_keys=True).encode()).hexdigest()

    def stem(self, photos: list[Photo]) -> str:
        """How the name of a shard's file begins: by the digest of all that its bytes depend on. Then comes the bytes' own."""
        digest = hashlib.sha256(self.origin().encode())
        for photo in photos:
            digest.update(photo.line())
        return digest.hexdigest()[:32]


class Shard(NamedTuple):
    """A shard to make: its photos, sorted, and the names of older shards that may have rows of them."""

    photos: list[Photo]
    older: list[str] = []


class Span(NamedTuple):
    """What a plan holds of a shard: the names of its first and last photo, and how many it has."""

    first: str
    last: str
    photos: int


class Done(NamedTuple):
    """A shard that was made: how many photos it has, how many of them were computed just now, and how many have no answer."""

    photos: int
    fresh: int
    wrong: int = 0


def machine(form: Format) -> dict[str, str]:
    """The kind of this machine, as far as a shard's bytes depend on it: this project's code, versions, system, instruction set."""
    digest = hashlib.sha256()
    names = *CODE, Path(*form.table.__module__.split(".")[1:]).with_suffix(".py")
    for path in [*files.of(LIBRARY / "pictures"), *(LIBRARY / name for name in names)]:
        digest.update(path.read_bytes())
    return {
        "code": digest.hexdigest()[:16],
        **{module.__name__: module.__version__ for module in (onnxruntime, np, PIL, pillow_heif, pyarrow)},
        "machine": f"{platform.system()} {platform.machine()}",
        "instructions": environment.instructions(),
    }


def difference(wanted: Mapping[str, str], actual: Mapping[str, str]) -> str:
    """In which way a machine is of another kind than the wanted one, in words; "" where it isn't."""
    for name in {**wanted, **actual}:
        was, now = wanted.get(name, "nothing"), actual.get(name, "nothing")
        if was == now:
            continue
        if name == "code":
            return "another version of the project"
        if name == "instructions":
            one, other = set(was.split()), set(now.split())
            less, more = ", ".join(sorted(one - other)), ", ".join(sorted(other - one))
            return "a processor " + " and ".join([f"without {less}"] * bool(less) + [f"with {more} as well"] * bool(more))
        return f"{name} {now} instead of {was}"
    return ""


def named(stem: str, data: bytes, ending: str) -> str:
    """A shard's whole name."""
    return f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}{ending}"


def intact(name: str, data: bytes) -> bool:
    """Whether a shard's file holds what was written to it."""
    return name == named(name.partition("-")[0], data, Path(name).suffix)


def finished(job: Job) -> dict[str, str]:
    """The names of a job's shards that are made, and of older ones, by their stems."""
    return {name.partition("-")[0]: name for name in places.at(job.to).names() if name.endswith(job.format.ending)}


def plan(job: Job, photos: Iterable[Photo], size: int) -> dict[str, Span]:
    """The shards of sorted photos, of about `size` photos each, by their stems and in order."""
    return {job.stem(shard): Span(shard[0].key, shard[-1].key, len(shard)) for shard in listing.cut(photos, size)}


def missing(job: Job, planned: Mapping[str, Span], made: Mapping[str, str], photos: Iterable[Photo], size: int) -> Iterator[Shard]:
    """The shards of a plan that are not among those `made`, each with the older ones that have photos of names between its own."""
    older = [(first, last, made[stem]) for stem, (first, last, _) in _index(job).items() if stem in made]
    for (stem, (first, last, _)), shard in zip(planned.items(), listing.cut(photos, size)):
        if stem not in made:
            yield Shard(shard, [name for start, end, name in older if start <= last and first <= end])


def note(job: Job, planned: Mapping[str, Span], others: bool) -> None:
    """Write down which photos lie in which shard, so that a later list's shards find the rows that are there already.

    `others` says whether shards of other lists stay: a store's do.
    """
    made, index = finished(job), {**(_index(job) if others else {}), **planned}
    kept = {stem: span for stem, span in sorted(index.items()) if stem in made}
    places.at(job.to).write(INDEX, json.dumps({"origin": job.origin(), "shards": kept}, indent=0).encode())


def _index(job: Job) -> dict[str, Span]:
    """What `note` has written, if it was for such a job."""
    try:
        written = json.loads(places.at(job.to).read(INDEX) or b"{}")
        if written.get("origin") == job.origin():
            return {stem: Span(str(first), str(last), photos) for stem, (first, last, photos) in written["shards"].items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        pass  # rows are computed then
    return {}


def make(job: Job, shard: Shard, model: bytes | None = None) -> Done:
    """Write a shard, unless it is there.

    Parameters
    ----------
    model : bytes, optional
        The network's file where it does not lie at `job.path` here.

    Raises
    ------
    UserError
        If this machine is of another kind than `job.machine`, or a bucket or disk does not do what it is asked for. Then nothing is
        written.
    """
    target, stem, form = places.at(job.to), job.stem(shard.photos), job.format
    if any(name.endswith(form.ending) for name in target.names(stem)):
        return Done(len(shard.photos), fresh=0)
    check(job)
    known: dict[str, Row] = {}
    for older in shard.older:
        if intact(older, data := target.read(older) or b""):
            known |= form.read(data, job.origin())
    fresh = [photo for photo in shard.photos if photo.digest() not in known]
    network, read = loaded(job.model, job.path, model), functools.partial(places.photo, job.base)
    for photo, row in rows.answers(network, fresh, read, attrgetter("key"), places.READERS):
        known[photo.digest()] = row
    every = [known[photo.digest()] for photo in shard.photos]
    written = form.table(network.about, job.origin(), shard.photos, every)
    target.write(named(stem, written, form.ending), written)
    return Done(len(every), len(fresh), sum(row.numbers is None for row in every))


def check(job: Job) -> None:
    """Raise UserError where this machine can't take part in a job."""
    if differs := difference(job.machine, machine(job.format)):
        raise UserError(f"{platform.node()} is of another kind than what began {job.to}: {differs}. {ONE_KIND}")
    for place in filter(None, (job.base, job.to)):
        if not places.is_bucket(place) and not os.path.isdir(place):
            raise UserError(f"{platform.node()} has no folder {place}: use one that all nodes share, or a bucket.")


@functools.lru_cache(maxsize=1)
def loaded(model: str, path: str, data: bytes | None) -> Network:
    """The network of this sha256, which runs each picture in one thread; the last one is kept."""
    return Network(Path(path), data)
