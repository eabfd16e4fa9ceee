"""The work on a shard: a file that depends on its list of photos, the network and what computes, and on nothing else.

Every photo is computed alone and by one thread, so its row depends on that photo alone: neither on its neighbours in the shard nor
on how many threads or machines there are. Rows that an older shard has are copied from there.
"""

import functools
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import PIL
import pillow_heif

from littledata.core import environment, files
from littledata.core.errors import UserError
from littledata.export.classifier import Network
from littledata.features import layers, memo
from littledata.photos import listing, places
from littledata.photos.photo import Photo
from littledata.pictures import images
from littledata.predict import predictions
from littledata.shards import features
from littledata.shards.rows import Row

CODE = Path(__file__).parent.parent
ONE_KIND = "Their numbers differ in the last digits: take machines of one kind, with the same pinned packages."
FORMATS = {"predictions": predictions, "features": features}
INDEX = "_shards.json"  # which photos lie in which shard; readers of folders of Parquet files pass over what begins with _


@dataclass(frozen=True)
class Job:
    """What all shards have in common.

    kind : what a shard holds, one of FORMATS
    model : sha256 of the network's file, which lies at `path`
    base : what the photos' names are relative to; "" where they are whole
    to : the folder or s3:// address that shards are written to
    engine : what is to compute them, as `engine` gives it
    """

    kind: str
    model: str
    path: str
    base: str
    to: str
    engine: dict[str, str]

    def origin(self) -> str:
        """The digest of all that a row depends on besides its photo."""
        return hashlib.sha256(json.dumps([self.kind, self.model, self.engine], sort_keys=True).encode()).hexdigest()

    def stem(self, photos: list[Photo]) -> str:
        """How the name of a shard's file begins: by the digest of all that its bytes depend on. Then comes the bytes' own."""
        digest = hashlib.sha256(self.origin().encode())
        for photo in photos:
            digest.update(photo.line())
        return digest.hexdigest()[:32]


class Shard(NamedTuple):
    """A shard to make: its photos, sorted, and the names of older shards that may have some of them."""

    photos: list[Photo]
    older: list[str] = []


class Done(NamedTuple):
    """A shard that is there: how many photos it has, how many of them were computed just now, and how many have no answer."""

    photos: int
    fresh: int
    wrong: int = 0


@functools.cache
def engine() -> dict[str, str]:
    """What computes here, as far as bytes depend on it: versions, the project's own code, the system and the instruction set."""
    import pyarrow

    digest = hashlib.sha256()
    modules = ("export/classifier", "shards/features", "predict/predictions", "shards/rows", "shards/work")
    for path in [*files.of(CODE / "pictures"), *(CODE / f"{name}.py" for name in modules)]:
        digest.update(path.read_bytes())
    return {
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "pillow_heif": pillow_heif.__version__,
        "pyarrow": pyarrow.__version__,
        "code": digest.hexdigest()[:16],
        "machine": f"{platform.system()} {platform.machine()}",
        "instructions": memo.instructions(),
    }


def difference(wanted: dict[str, str], found: dict[str, str]) -> str:
    """In which way two engines differ, in words; "" where they don't."""
    for name in wanted | found:
        one, other = wanted.get(name, "nothing"), found.get(name, "nothing")
        if one == other:
            continue
        if name == "code":
            return "another version of the project"
        if name == "instructions":
            one, other = set(one.split()), set(other.split())
            less, more = ", ".join(sorted(one - other)), ", ".join(sorted(other - one))
            return "a processor " + " and ".join([f"without {less}"] * bool(less) + [f"with {more} as well"] * bool(more))
        return f"{name} {other} instead of {one}"
    return ""


def named(stem: str, data: bytes, ending: str) -> str:
    """A shard's whole name."""
    return f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}{ending}"


def there(target: places.Folder | places.Bucket) -> dict[str, str]:
    """The names of the shards that are there, by their stems."""
    endings = tuple(form.ENDING for form in FORMATS.values())
    return {name.partition("-")[0]: name for name in target.names() if name.endswith(endings)}


def intact(name: str, data: bytes) -> bool:
    """Whether a shard's file holds what was written to it."""
    stem, _, rest = name.partition("-")
    return name == named(stem, data, Path(rest).suffix)


def missing(job: Job, photos: Iterable[Photo], size: int) -> Iterator[Shard | Done]:
    """The shards of sorted photos: those to make, and those that are there already."""
    target = places.at(job.to)
    found, index = there(target), _index(job, target)
    ranges = [(first, last, found[stem]) for stem, (first, last) in index.items() if stem in found]
    for shard in listing.cut(photos, size):
        if job.stem(shard) in found:
            yield Done(len(shard), fresh=0)
        else:
            first, last = shard[0].key, shard[-1].key
            yield Shard(shard, [name for start, end, name in ranges if start <= last and first <= end])


def note(job: Job, photos: Iterable[Photo], size: int, others: bool = True) -> None:
    """Write down which photos lie in which shard, so that a later list's shards find the rows that are there already.

    `others` says whether shards of other lists stay: a store's do.
    """
    target = places.at(job.to)
    index = dict(_index(job, target)) if others else {}
    index |= {job.stem(shard): (shard[0].key, shard[-1].key) for shard in listing.cut(photos, size)}
    found = there(target)
    kept = {stem: keys for stem, keys in sorted(index.items()) if stem in found}
    target.write(INDEX, json.dumps({"origin": job.origin(), "shards": kept}, indent=0).encode())


def _index(job: Job, target: places.Folder | places.Bucket) -> Mapping[str, tuple[str, str]]:
    """What `note` has written, if it was for such a job: the first and the last name of each shard."""
    try:
        written = json.loads(target.read(INDEX) or b"{}")
        if written.get("origin") == job.origin():
            return {str(stem): (str(first), str(last)) for stem, (first, last) in written["shards"].items()}
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
        If this machine is of another kind than `job.engine`, or a bucket or disk does not do what it is asked for. Then nothing is
        written.
    """
    target, stem, form = places.at(job.to), job.stem(shard.photos), FORMATS[job.kind]
    if any(name.endswith(form.ENDING) for name in target.names(stem)):
        return Done(len(shard.photos), fresh=0)
    check(job)
    known: dict[str, Row] = {}
    for older in shard.older:
        if intact(older, data := target.read(older) or b""):
            known |= form.read(data, job.origin())
    fresh = [photo for photo in shard.photos if photo.digest() not in known]
    loaded = network(job, model)
    computed = dict(zip(map(Photo.digest, fresh), rows(loaded, job.base, fresh)))
    found = [known.get(digest) or computed[digest] for digest in map(Photo.digest, shard.photos)]
    written = form.table(loaded.about, job.origin(), shard.photos, found)
    target.write(named(stem, written, form.ENDING), written)
    return Done(len(found), fresh=len(fresh), wrong=sum(row.numbers is None for row in found))


def check(job: Job) -> None:
    """Raise UserError where this machine can't take part in a job."""
    if differs := difference(job.engine, engine()):
        raise UserError(f"{platform.node()} is of another kind than what began {job.to}: {differs}. {ONE_KIND}")
    for place in filter(None, (job.base, job.to)):
        if not places.is_bucket(place) and not os.path.isdir(place):
            raise UserError(f"{platform.node()} has no folder {place}: use one that all nodes share, or a bucket.")


_kept: dict[str, Network] = {}


def network(job: Job, data: bytes | None) -> Network:
    """A job's network, which runs each picture in one thread; the last one is kept."""
    if job.model not in _kept:
        _kept.clear()
        _kept[job.model] = Network(Path(job.path), data)
    return _kept[job.model]


def rows(network: Network, base: str, photos: Iterable[Photo]) -> Iterator[Row]:
    """What the network says of every photo, or the reason why there is nothing, in order and in flat memory."""

    def read(photo: Photo) -> tuple[Photo, bytes | str]:
        try:
            return photo, places.photo(base, photo)
        except places.Unavailable as error:
            return photo, str(error)

    def compute(what: tuple[Photo, bytes | str]) -> Row:
        photo, data = what
        if isinstance(data, str):
            return Row(None, data)
        try:
            numbers = network.outputs(network.read(data, photo.key)[None])[0]
        except images.UnreadablePhoto as error:
            return Row(None, str(error))
        return Row(numbers, None, hashlib.sha256(data).hexdigest())

    threads = environment.THREADS
    with ThreadPoolExecutor(places.READERS) as readers, ThreadPoolExecutor(threads) as workers:
        yield from layers.ahead(workers, compute, layers.ahead(readers, read, photos, places.READERS), 2 * threads)
