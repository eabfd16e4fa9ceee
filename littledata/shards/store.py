"""A store of averaged features, shard by shard: computed once, whatever is drawn.

It lies outside of DVC's outputs, which DVC deletes before a stage runs: in `.cache/shards`, or where SHARDS says, such as
s3://bucket/shards. It may be deleted at any time.
"""

import dataclasses
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from littledata.core import environment, paths
from littledata.core.errors import UserError
from littledata.export import to_onnx
from littledata.features import activations
from littledata.networks import backbone, keras, preprocessing
from littledata.photos import listing, places
from littledata.pictures import deep
from littledata.shards import features, schedule, work
from littledata.splits import dataset

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
    name, size = params.backbone, params.image_size
    network = backbone.load(name, weights, size)
    averaged = keras.Model(network.input, keras.layers.GlobalAveragePooling2D(name="averaged")(network.output))
    about = {"features": averaged.output_shape[-1], "image_size": size, "fit": params.fit, "depth": depth}
    parts = [preprocessing.preprocessing(name, params.preprocessing), averaged]
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
    listed = functools.partial(listing.read, photos)
    with schedule.engine() as engine, tempfile.TemporaryDirectory(prefix="features-") as temporary:
        model = Path(temporary, "features.onnx")
        model.write_bytes(network)
        machine = engine.machine(features.FORMAT)
        job = work.Job(features.FORMAT, hashlib.sha256(network).hexdigest(), str(model), "", "", machine)
        place = os.environ.get(VARIABLE) or str(STORE.resolve())
        job = dataclasses.replace(job, to=f"{place.rstrip('/')}/{job.origin()[:16]}")
        if not places.is_bucket(job.to):
            os.makedirs(job.to, exist_ok=True)
        planned, done = schedule.run(engine, job, listed, SIZE, "listed photos", others=True)
        unread = f", {done.wrong} have no features" if done.wrong else ""
        print(f"{done.photos} listed photos, {done.fresh} of them computed{unread}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        names, shards = work.finished(job), []
        for number, (stem, shard) in enumerate(zip(planned, listing.cut(listed(), SIZE))):
            shards.append(folder / f"{number:06}{features.FORMAT.ending}")
            _bring(job, work.Shard(shard), names[stem], shards[-1], engine)
    return shards


def _bring(job: work.Job, shard: work.Shard, name: str, file: Path, engine) -> None:
    """Bring a shard from the store, once it is computed anew where a disk has damaged it: by a hard link where the disk can, since
    nobody ever writes to it again."""
    store = places.at(job.to)
    data = store.read(name) or b""
    if not work.intact(name, data):
        print(f"{job.to}/{name} is damaged: computed anew", flush=True)
        store.remove(name)
        list(engine.make(job, [shard]))
        data = store.read(name)  # by its name the same bytes again
    file.unlink(missing_ok=True)  # it may be a link to another shard
    try:
        os.link(Path(job.to, name), file)
    except OSError:  # another disk, or a bucket
        file.write_bytes(data)


def listed(params) -> Iterator[tuple[int, int, int]]:
    """Write the averaged features of a list's photos; gives the number of the shard, the row in it and the number of the class of
    every photo that level 2 may learn from: not of those that were drawn, nor of copies of them, and of none without features.

    Raises
    ------
    UserError
        Where there is no list.
    """
    if next(listing.read(paths.LISTED), None) is None:
        why = "top.listed takes photos of a bucket or a list, and these are of neither"
        raise UserError(f"{why}: make repro PHOTOS=s3://bucket/photos")
    network = export(paths.WEIGHTS, params, deep.read().about())
    manifest, photos = dataset.read_manifest(), listing.read(paths.LISTED)
    classes, drawn = dataset.class_names(manifest), {photo.sha256 for photo in manifest}
    for number, file in enumerate(fill(network, paths.LISTED, activations.SHARDS)):
        contents = activations.opened(file)["sha256"].to_pylist()
        for row, (sha256, photo) in enumerate(zip(contents, photos)):
            if sha256 and sha256 not in drawn:
                yield number, row, classes.index(photo.kind)
