"""A shard of predictions: a Parquet file that depends on its list of photos, the classifier and what computes, and on nothing else.

Every photo is computed alone and by one thread, so its row depends on that photo alone: neither on its neighbours in the shard nor
on how many threads or machines there are.
"""

import functools
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import PIL
import pillow_heif
from numpy._core._multiarray_umath import __cpu_features__

from stages.core import environment, files
from stages.core.errors import UserError
from stages.frozen import layers
from stages.pictures import images
from stages.shards import places
from stages.shards.classifier import Classifier
from stages.shards.places import Photo

CODE = Path(__file__).parent.parent  # stages/
ONE_KIND = "Their numbers differ in the last digits: take machines of one kind, with the same pinned packages."
EXTRA = "--to takes pyarrow: .venv/bin/python tools/install.py requirements/run.txt"


@dataclass(frozen=True)
class Job:
    """What all shards have in common.

    model : sha256 of the classifier's file, which lies at `path`
    base : what the photos' names are relative to
    to : the folder or s3:// address that shards are written to
    engine : what is to compute them, as `engine` gives it
    """

    model: str
    path: str
    base: str
    to: str
    engine: dict[str, str]

    def name(self, photos: list[Photo]) -> str:
        """The file of a shard, named by all that its bytes depend on."""
        digest = hashlib.sha256(json.dumps([self.model, self.engine], sort_keys=True).encode())
        for photo in photos:
            digest.update(photo.line())
        return f"{digest.hexdigest()[:32]}.parquet"


class Done(NamedTuple):
    """A shard that is there: how many photos it has, whether it was computed just now, and then how many have no answer."""

    photos: int
    fresh: bool
    wrong: int = 0


@functools.cache
def engine() -> dict[str, str]:
    """What computes here, as far as bytes depend on it: versions, the project's own code, the system and the instruction set."""
    import pyarrow

    digest = hashlib.sha256()
    modules = ("shards/classifier.py", "shards/predictions.py")
    for path in [*files.of(CODE / "pictures"), *(CODE / name for name in modules)]:
        digest.update(path.read_bytes())
    return {
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "pillow_heif": pillow_heif.__version__,
        "pyarrow": pyarrow.__version__,
        "code": digest.hexdigest()[:16],
        "machine": f"{platform.system()} {platform.machine()}",
        # NumPy asks the processor, on every system.
        "instructions": " ".join(sorted(name for name, has in __cpu_features__.items() if has)),
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


def make(job: Job, photos: list[Photo], model: bytes | None = None) -> Done:
    """Write a shard, unless it is there.

    Parameters
    ----------
    model : bytes, optional
        The classifier's file where it does not lie at `job.path` here.

    Raises
    ------
    UserError
        If this machine is of another kind than `job.engine`, or a bucket or disk does not do what it is asked for. Then nothing is
        written.
    """
    target, name = places.at(job.to), job.name(photos)
    if target.has(name):
        return Done(len(photos), fresh=False)
    check(job)
    found = list(rows(classifier(job, model), job.base, photos))
    target.write(name, table(classifier(job, model), job, photos, found))
    return Done(len(photos), fresh=True, wrong=sum(isinstance(row, str) for row in found))


def check(job: Job) -> None:
    """Raise UserError where this machine can't take part in a job."""
    if differs := difference(job.engine, engine()):
        raise UserError(f"{platform.node()} is of another kind than what began {job.to}: {differs}. {ONE_KIND}")
    for place in (job.base, job.to):
        if not places.is_bucket(place) and not os.path.isdir(place):
            raise UserError(f"{platform.node()} has no folder {place}: use one that all nodes share, or a bucket.")


_kept: dict[str, Classifier] = {}


def classifier(job: Job, data: bytes | None) -> Classifier:
    """A job's classifier, which runs each picture in one thread; the last one is kept."""
    if job.model not in _kept:
        _kept.clear()
        _kept[job.model] = Classifier(Path(job.path), data)
    return _kept[job.model]


def table(classifier: Classifier, job: Job, photos: list[Photo], found: list[np.ndarray | str]) -> bytes:
    """A shard's Parquet file: the columns `file`, `class`, a `probability_` of every class, and `why_not`. `found` is what `rows`
    gives."""
    import pyarrow
    from pyarrow import parquet

    answers = [None if isinstance(row, str) else row for row in found]
    # A disk may have names in any encoding, Parquet has UTF-8.
    shown = [os.fsencode(photo.key).decode(errors="backslashreplace") for photo in photos]
    columns = {
        "file": pyarrow.array(shown, pyarrow.string()),
        "class": pyarrow.array([row if row is None else classifier.classes[row.argmax()] for row in answers], pyarrow.string()),
    }
    for number, name in enumerate(classifier.classes):
        of_class = [None if row is None else row[number] for row in answers]
        columns[f"probability_{name}"] = pyarrow.array(of_class, pyarrow.float32())
    columns["why_not"] = pyarrow.array([row if isinstance(row, str) else None for row in found], pyarrow.string())
    about = {"model": job.model, "engine": json.dumps(job.engine, sort_keys=True)}
    parquet.write_table(pyarrow.table(columns, metadata=about), file := io.BytesIO(), compression="zstd")
    return file.getvalue()


def rows(classifier: Classifier, base: str, photos: Iterable[Photo]) -> Iterator[np.ndarray | str]:
    """Every photo's probabilities, or the reason why there are none, in order and in flat memory."""

    def read(photo: Photo) -> tuple[Photo, bytes | str]:
        try:
            return photo, places.photo(base, photo)
        except places.Unavailable as error:
            return photo, str(error)

    def compute(what: tuple[Photo, bytes | str]) -> np.ndarray | str:
        photo, data = what
        if isinstance(data, str):
            return data
        try:
            return classifier.probabilities(classifier.read(data, photo.key)[None])[0]
        except images.UnreadablePhoto as error:
            return str(error)

    threads = environment.THREADS
    with ThreadPoolExecutor(places.READERS) as readers, ThreadPoolExecutor(threads) as workers:
        yield from layers.ahead(workers, compute, layers.ahead(readers, read, photos, places.READERS), 2 * threads)
