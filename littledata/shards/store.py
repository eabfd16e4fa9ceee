"""A store of averaged features, shard by shard: computed once, whatever is drawn.

It lies outside of DVC's outputs, which DVC deletes before a stage runs: in `.cache/shards`, or where SHARDS says, such as
s3://bucket/shards. It may be deleted at any time.
"""

import dataclasses
import hashlib
import os
import tempfile
from pathlib import Path

from littledata.core import environment
from littledata.core.progress import progress
from littledata.export import to_onnx
from littledata.networks import backbone, keras, preprocessing
from littledata.photos import listing, places
from littledata.photos.photo import Photo
from littledata.shards import features, schedule, work

VARIABLE = "SHARDS"
STORE = environment.ROOT / ".cache/shards"
SIZE = 1000  # photos a shard, about


def export(weights: Path, params, depth: dict | None) -> bytes:
    """The pretrained network as a file from uint8 pixels to its output, averaged over the picture.

    Parameters
    ----------
    weights : what the `pretrained` stage wrote
    params : `backbone`, `image_size`, `preprocessing` and `fit`
    depth : what is black and white in deep pictures, as `deep.Depth.about` gives it
    """
    name, size = params["backbone"], params["image_size"]
    network = backbone.load(name, weights, size)
    averaged = keras.Model(network.input, keras.layers.GlobalAveragePooling2D(name="averaged")(network.output))
    about = {"features": averaged.output_shape[-1], "image_size": size, "fit": params["fit"], "depth": depth}
    parts = [preprocessing.preprocessing(name, params["preprocessing"]), averaged]
    return to_onnx.convert(parts, size, 1, about).SerializeToString()


def fill(network: bytes, photos: Path, folder: Path) -> list[Path]:
    """Bring the shards of a list of photos into a folder, computed where the store has none.

    Parameters
    ----------
    network : what `export` gives
    photos : what `listing.write` wrote, with whole paths or addresses as names

    Returns
    -------
    list of Path
        Every shard's file, in order: so are their names.
    """
    sha256 = hashlib.sha256(network).hexdigest()
    with schedule.engine() as engine, tempfile.TemporaryDirectory(prefix="features-") as temporary:
        model = Path(temporary, "features.onnx")
        model.write_bytes(network)
        job = work.Job("features", sha256, str(model), "", "", engine.kind())
        place = os.environ.get(VARIABLE) or str(STORE.resolve())
        job = dataclasses.replace(job, to=f"{place.rstrip('/')}/{job.origin()[:16]}")
        if not places.is_bucket(job.to):
            os.makedirs(job.to, exist_ok=True)
        count, fresh, wrong = sum(1 for _ in listing.read(photos)), 0, 0
        with progress(count, "listed photos") as bar:
            for done in schedule.made(engine, job, listing.read(photos), SIZE):
                bar.update(done.photos)
                fresh, wrong = fresh + done.fresh, wrong + done.wrong
        work.note(job, listing.read(photos), SIZE)
        unread = f", {wrong} have no features" if wrong else ""
        print(f"{count} listed photos, {fresh} of them computed{unread}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        there, files = work.there(places.at(job.to)), []
        for number, shard in enumerate(listing.cut(listing.read(photos), SIZE)):
            files.append(folder / f"{number:06}{features.ENDING}")
            _bring(job, shard, there[job.stem(shard)], files[-1], engine)
    return files


def _bring(job: work.Job, shard: list[Photo], name: str, file: Path, engine) -> None:
    """Bring a shard from the store, once it is computed anew where a disk has damaged it: by a hard link where the disk can, since
    nobody ever writes to it again."""
    store = places.at(job.to)
    data = store.read(name) or b""
    if not work.intact(name, data):
        print(f"{job.to}/{name} is damaged: computed anew", flush=True)
        store.remove(name)
        list(engine.make(job, [work.Shard(shard)]))
        data = store.read(name)  # by its name the same bytes again
    file.unlink(missing_ok=True)  # it may be a link to another shard
    try:
        os.link(Path(job.to, name), file)
    except OSError:  # another disk, or a bucket
        file.write_bytes(data)
