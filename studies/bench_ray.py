"""What Ray costs: the same photos predicted by this machine alone and by a Ray cluster of one node on the same cores.

    make bench-ray PHOTOS=~/pictures    # with models/classifier.onnx of `make repro RECIPE=light`

Runs are whole commands, in pairs, each pair beside each other in time; the cluster is up already. The files must be the same. Then
once more from and to a bucket, of an S3 server on this machine, which is timed apart: the server takes a core itself.
"""

import argparse
import filecmp
import importlib.util
import itertools
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from littledata.core import command, environment, tables
from littledata.core.errors import UserError
from littledata.export.classifier import OWN
from littledata.photos import archive
from littledata.predict.predict import pictures
from studies import cluster, measure, s3

COUNT, PAIRS, BUCKET_COUNT = 5000, 3, 1000


Pair = tuple[measure.Ran, measure.Ran]


def pair(running: cluster.Cluster, source: str, to: str, options: argparse.Namespace, env: Mapping) -> Pair:
    """`predict --to` alone, and on a cluster, whose cores' time counts too."""
    words = ("littledata.predict.predict", source, "--model", str(options.model), "--shard", str(options.shard), "--to")
    alone = measure.run(*words, f"{to}/alone", env=env)
    before, used = running.core_seconds(), {}
    ray = measure.run(*words, f"{to}/ray", env={**env, **running.driver}, meanwhile=lambda: used.update(running.core_seconds()))
    used |= running.core_seconds()
    ray = ray._replace(core_seconds=ray.core_seconds + sum(used.values()) - sum(before.values()))
    return alone, ray


def same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def line(alone: measure.Ran, ray: measure.Ran) -> str:
    each = (f"{name} {ran.seconds:.1f} s ({ran.core_seconds:.1f} core seconds)" for name, ran in (("alone", alone), ("Ray", ray)))
    return ", ".join(each)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder")
    parser.add_argument("--model", type=Path, default=OWN)
    parser.add_argument("--shard", type=int, default=250, help="photos a file, about (250)")
    options = parser.parse_args()
    if lacking := [name for name in ("moto", "ray", "boto3") if not importlib.util.find_spec(name)]:
        raise UserError(f"{', '.join(lacking)}: not installed. `make bench-ray` brings it.")
    found = filter(archive.is_photo, pictures([str(options.photos)], Counter()))
    paths = list(map(os.path.abspath, itertools.islice(found, COUNT)))
    if not paths:
        raise UserError(f"no picture in {options.photos}")
    with tempfile.TemporaryDirectory() as temporary:
        place, pairs = Path(temporary), []
        tables.write(place / "list.csv", ["file"], [[path] for path in paths])
        with cluster.local(1, environment.THREADS, hidden=False) as running:
            for number in range(PAIRS):
                to = place / str(number)
                pairs.append(pair(running, str(place / "list.csv"), str(to), options, {}))
                if not same(to / "alone", to / "ray"):
                    raise UserError("The files of both sides differ.")
                print(f"pair {number + 1}: {line(*pairs[-1])}", flush=True)
        print(f"{len(paths)} photos, {environment.THREADS} cores, median of {PAIRS} pairs:")
        for name in "seconds", "core_seconds":
            ratio = statistics.median(getattr(ray, name) / getattr(alone, name) for alone, ray in pairs)
            print(f"  Ray takes {ratio:.3f} times as many {name.replace('_', ' ')}", flush=True)
    with s3.server("photos", "out") as env:
        few = paths[:BUCKET_COUNT]
        for number, path in enumerate(few):
            s3.client(env).upload_file(path, "photos", f"{number}{Path(path).suffix}")
        with cluster.local(1, environment.THREADS, hidden=False, **env) as running:
            print(f"{len(few)} photos from a bucket to a bucket: {line(*pair(running, 's3://photos', 's3://out', options, env))}")


if __name__ == "__main__":
    command.start(main)
