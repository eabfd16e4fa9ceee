"""What Ray costs: the same photos predicted by this machine alone and by a Ray cluster of one node on the same cores.

    make bench-ray PHOTOS=~/pictures    # with models/classifier.onnx of `make repro RECIPE=light`

Runs are whole commands, in pairs, each pair beside each other in time; the cluster is up already. The files must be the same. Then
once more from and to a bucket, of an S3 server on this machine, which is timed apart: the server takes a core itself.
"""

import argparse
import contextlib
import csv
import filecmp
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil

from littledata.core import command, environment
from littledata.core.errors import UserError
from littledata.export.classifier import OWN
from littledata.photos import archive
from littledata.predict.predict import pictures
from studies import cluster, s3

COUNT, PAIRS, BUCKET_COUNT = 5000, 3, 1000


class Took(NamedTuple):
    """What a whole run took: by the clock, and of the cores' time, that of the cluster's processes included."""

    seconds: float
    core_seconds: float


def took(source: str, to: str, model: Path, shard: int, running: cluster.Cluster | None = None) -> Took:
    """Run `predict --to`, on a cluster or without one."""
    words = [sys.executable, "-m", "littledata.predict.predict", source, "--to", to, "--model", str(model), "--shard", str(shard)]
    start, before, used = time.perf_counter(), cores_time(running), {}
    env = os.environ | (running.driver if running else {})
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=said)
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            used |= cores_time(running)  # workers end with the run, so they are looked at meanwhile
            if ended:
                break
            time.sleep(0.2)
        took = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status):
            said.seek(0)
            raise UserError(said.read().strip())
    return Took(took, usage.ru_utime + usage.ru_stime + sum(used.values()) - sum(before.values()))


def cores_time(running: cluster.Cluster | None) -> dict[int, float]:
    """The seconds of a core that each process of a cluster has used so far."""
    found = {}
    for process in running.processes() if running else ():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder")
    parser.add_argument("--count", type=int, default=COUNT, help=f"how many of them at most ({COUNT})")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--model", type=Path, default=OWN)
    parser.add_argument("--shard", type=int, default=250, help="photos a file, about (250)")
    options = parser.parse_args()
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed: `make bench-ray` brings it.") from None
    paths = [os.path.abspath(path) for path in pictures([str(options.photos)], Counter()) if archive.is_photo(path)][
        : options.count
    ]
    if not paths:
        raise UserError(f"no picture in {options.photos}")
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        with open(place / "list.csv", "w", newline="") as file:
            csv.writer(file).writerows([["file"], *([path] for path in paths)])
        pairs: list[tuple[Took, Took]] = []
        with cluster.local(1, environment.THREADS, hidden=False) as running:
            for number in range(options.pairs):
                alone = took(str(place / "list.csv"), str(place / f"alone{number}"), options.model, options.shard)
                ray = took(str(place / "list.csv"), str(place / f"ray{number}"), options.model, options.shard, running)
                if not same(place / f"alone{number}", place / f"ray{number}"):
                    raise UserError("The files of both sides differ.")
                pairs.append((alone, ray))
                print(f"pair {number + 1}: {said(alone, ray)}", flush=True)
        print(f"{len(paths)} photos, {environment.THREADS} cores, median of {options.pairs} pairs:")
        for name in Took._fields:
            ratio = statistics.median(getattr(ray, name) / getattr(alone, name) for alone, ray in pairs)
            print(f"  Ray takes {ratio:.3f} times as many {name.replace('_', ' ')}", flush=True)
        bucket(paths[:BUCKET_COUNT], options, place)


def said(alone: Took, ray: Took) -> str:
    return (
        f"alone {alone.seconds:.1f} s ({alone.core_seconds:.1f} core seconds), "
        f"Ray {ray.seconds:.1f} s ({ray.core_seconds:.1f} core seconds)"
    )


def bucket(paths: list[str], options: argparse.Namespace, place: Path) -> None:
    """The same once from a bucket and to it."""
    try:
        import moto  # noqa: F401
        import s3fs
    except ImportError:
        print("S3 is not timed: `make bench-ray` takes what `make test` installs.")
        return
    with s3.server("photos", "out") as env:
        os.environ.update(env)
        s3fs.S3FileSystem().pipe(
            {f"photos/{number}{Path(path).suffix}": Path(path).read_bytes() for number, path in enumerate(paths)}
        )
        with cluster.local(1, environment.THREADS, hidden=False, **env) as running:
            alone = took("s3://photos", "s3://out/alone", options.model, options.shard)
            ray = took("s3://photos", "s3://out/ray", options.model, options.shard, running)
        print(f"{len(paths)} photos from a bucket to a bucket: {said(alone, ray)}")


if __name__ == "__main__":
    command.start(main)
