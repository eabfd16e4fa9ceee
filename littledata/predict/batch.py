"""Predict more photos than lines are good for: from a folder, a bucket or a list into Parquet files, shard by shard.

    predict s3://bucket/photos --to s3://bucket/predictions
    ENGINE=ray predict s3://bucket/photos --to s3://bucket/predictions     # the same files, from a Ray cluster

`predict --to` calls it. The target has a note of the classifier, the list and the kind of machine. So the same command goes on where
it stopped, and another one is refused.
"""

import json
import time
from pathlib import Path

from littledata.core import files
from littledata.core.errors import UserError
from littledata.export.classifier import Classifier
from littledata.photos import names, places
from littledata.photos.listing import Photos
from littledata.predict import predictions
from littledata.shards import schedule, work

NOTE = "_predictions.json"  # readers of Parquet folders pass over what begins with _
AGAIN = "Name another folder, or say --update: what still holds is kept, the rest replaced."


def run(source: str, to: str, model: Path | None, size: int, update: bool) -> None:
    """Predict all photos of a source into shards.

    Parameters
    ----------
    source : as `Photos` takes it
    to : a folder or s3:// address
    model : the classifier's file, as `Classifier` takes it
    size : how many photos a shard has, about
    update : whether shards of another list or classifier are replaced

    Raises
    ------
    UserError
        Where the target belongs to something else, or as `Classifier`, `Photos` and the engine do.
    """
    Classifier(model)  # which says in a line what is wrong with it
    target, start = places.at(to), time.perf_counter()
    absolute = to if places.is_bucket(to) else str(Path(to).resolve())
    with schedule.engine() as engine:
        machine = engine.machine(predictions.FORMAT)  # before photos are listed, which may take long
        with Photos(source) as photos:
            if photos.left_out:
                print(f"left out: {names.counted(photos.left_out)}", flush=True)
            job = work.Job(predictions.FORMAT, files.sha256_of(model), str(model.resolve()), photos.base, absolute, machine)
            listed = {"sha256": photos.sha256, "photos": photos.count, "shard": size}
            note = {"source": source, "list": listed, "model": job.model, "machine": machine}
            _agree(to, target, note, update)
            planned, done = schedule.run(engine, job, lambda: photos, size, "predict", others=False)
            for name in target.names():
                if name.endswith((predictions.FORMAT.ending, ".part")) and name.partition("-")[0] not in planned:
                    target.remove(name)  # of another list, or of a run that was killed
            _write(target, note | {"finished": True})
    old = f", {done.photos - done.fresh} were there" if done.fresh < done.photos else ""
    unread = f", {done.wrong} have no answer: why_not says why" if done.wrong else ""
    rate = f", {done.fresh / (time.perf_counter() - start):.1f} a second" if done.fresh else ""
    print(f"{done.photos} photos in {to}{old}{rate}{unread}", flush=True)


def _agree(to: str, target: places.Folder | places.Bucket, note: dict, update: bool) -> None:
    """Write the note of what is to be in the target; raise UserError where another one is there already."""
    if kept := target.read(NOTE):
        try:
            before = json.loads(kept)
            listed, model, machine = dict(before["list"]), str(before["model"]), dict(before.get("machine", {}))
            size, sha256, count = listed["shard"], listed["sha256"], listed["photos"]
        except (ValueError, LookupError, TypeError):
            raise UserError(f"{to}/{NOTE} can't be read: remove it, and the same command goes on.") from None
        if not update:
            now = note["list"]
            changed = "some were changed" if count == now["photos"] else f"{count} then, {now['photos']} now"
            differs = work.difference(machine, note["machine"])
            for same, what in (
                (model == note["model"], f"has predictions of another classifier (sha256 {model[:12]})"),
                (size == now["shard"], f"has shards of --shard {size}, not {now['shard']}"),
                (sha256 == now["sha256"], f"has predictions of another list of photos: {changed}"),
                (not differs, f"was begun by another kind of machine: {differs}. {work.ONE_KIND.rstrip('.')}"),
            ):
                if not same:
                    raise UserError(f"{to} {what}. {AGAIN}")
    elif stray := next((name for name in target.names() if not name.endswith(".part") and name != work.INDEX), None):
        raise UserError(f"{to} has other files, such as {stray}: name an empty folder, or one that does not exist yet.")
    _write(target, note | {"finished": False})


def _write(target: places.Folder | places.Bucket, note: dict) -> None:
    target.write(NOTE, (json.dumps(note, indent=2, ensure_ascii=False) + "\n").encode())
