"""Predict more photos than lines are good for: from a folder, a bucket or a list into Parquet files, shard by shard.

    predict s3://bucket/photos --to s3://bucket/predictions
    ENGINE=ray predict s3://bucket/photos --to s3://bucket/predictions     # the same files, from a Ray cluster

`predict --to` calls it. The target has a note of the classifier, the list and what computes. So the same command goes on where it
stopped, and another one is refused.
"""

import json
import time
from pathlib import Path

from littledata.core import files
from littledata.core.errors import UserError
from littledata.core.progress import progress
from littledata.export.classifier import Classifier
from littledata.photos import listing, names, places
from littledata.photos.listing import Photos
from littledata.shards import schedule, work
from littledata.shards.work import INDEX, Job

NOTE = "_predictions.json"  # readers of Parquet folders pass over what begins with _
EXTRA = "--to takes pyarrow: .venv/bin/python tools/install.py requirements/run.txt"
SHARD = 1000  # photos, about: half a minute of a core
AGAIN = "Name another folder, or say --update: what still holds is kept, the rest replaced."


def run(source: str, to: str, model: Path, size: int = SHARD, update: bool = False) -> None:
    """Predict all photos of a source into shards.

    Parameters
    ----------
    source : as `Photos` takes it
    to : a folder or s3:// address
    model : the classifier's file
    size : how many photos a shard has, about
    update : whether shards of another list or classifier are replaced

    Raises
    ------
    UserError
        Where the target belongs to something else, or as `Photos` and the engine do.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError(EXTRA) from None
    Classifier(model)  # which says in a line what is wrong with it
    target = places.at(to)
    with schedule.engine() as engine:
        kind = engine.kind()
        with Photos(source) as photos:
            if photos.left_out:
                print(f"left out: {names.counted(photos.left_out)}", flush=True)
            job = Job("predictions", files.sha256_of(model), str(model.resolve()), photos.base, _absolute(to), kind)
            note = {
                "source": source,
                "list": {"sha256": photos.sha256, "photos": photos.count, "shard": size},
                "model": job.model,
                "engine": kind,
            }
            _agree(to, target, note, update)
            _make(job, photos, size, engine, to)
            work.note(job, photos, size, others=False)
            stems = {job.stem(shard) for shard in listing.cut(photos, size)}
            for name in target.names():
                if name.endswith((".parquet", ".part")) and name.partition("-")[0] not in stems:
                    target.remove(name)  # of another list, or of a run that was killed
            target.write(NOTE, _text(note | {"finished": True}))


def _make(job: Job, photos: Photos, size: int, engine, to: str) -> None:
    """Make the shards that are not there yet."""
    fresh = wrong = 0
    start = time.perf_counter()
    with progress(photos.count, "predict") as bar:
        for done in schedule.made(engine, job, photos, size):
            bar.update(done.photos)
            fresh += done.fresh
            wrong += done.wrong
    old = f", {photos.count - fresh} were there" if fresh < photos.count else ""
    unread = f", {wrong} have no answer: why_not says why" if wrong else ""
    rate = f", {fresh / (time.perf_counter() - start):.1f} a second" if fresh else ""
    print(f"{photos.count} photos in {to}{old}{rate}{unread}", flush=True)


def _agree(to: str, target: places.Folder | places.Bucket, note: dict, update: bool) -> None:
    """Write the note of what is to be in the target; raise UserError where another one is there already."""
    if kept := target.read(NOTE):
        try:
            before = json.loads(kept)
            before["list"]["sha256"], before["list"]["photos"], before["list"]["shard"], before["model"], before["engine"]["code"]
        except (ValueError, LookupError, TypeError):
            raise UserError(f"{to}/{NOTE} can't be read: remove it, and the same command goes on.") from None
        if not update:
            if before["model"] != note["model"]:
                raise UserError(f"{to} has predictions of another classifier (sha256 {before['model'][:12]}). {AGAIN}")
            one, other = before["list"], note["list"]
            if one["shard"] != other["shard"]:
                raise UserError(f"{to} has shards of --shard {one['shard']}, not {other['shard']}. {AGAIN}")
            if one["sha256"] != other["sha256"]:
                changed = (
                    "some were changed" if one["photos"] == other["photos"] else f"{one['photos']} then, {other['photos']} now"
                )
                raise UserError(f"{to} has predictions of another list of photos: {changed}. {AGAIN}")
            if differs := work.difference(before["engine"], note["engine"]):
                raise UserError(f"{to} was begun by another kind of machine: {differs}. {work.ONE_KIND} {AGAIN}")
    elif stray := next((name for name in target.names() if not name.endswith(".part") and name != INDEX), None):
        raise UserError(f"{to} has other files, such as {stray}: name an empty folder, or one that does not exist yet.")
    target.write(NOTE, _text(note | {"finished": False}))


def _absolute(to: str) -> str:
    return to if places.is_bucket(to) else str(Path(to).resolve())


def _text(note: dict) -> bytes:
    return (json.dumps(note, indent=2, ensure_ascii=False) + "\n").encode()
