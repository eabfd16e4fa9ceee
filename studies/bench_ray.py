"""What Ray costs: the same photos predicted by this machine alone and by a Ray cluster of one node on the same cores.

    make bench-ray PHOTOS=~/pictures    # with models/classifier.onnx of `make repro RECIPE=light`

Runs are whole commands, in pairs, each pair beside each other in time; the cluster is up already. The files must be the same. Then
once more from and to a bucket, of an S3 server on this machine, which is timed apart: the server takes a core itself.
"""

import argparse
import csv
import filecmp
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stages.core import environment
from stages.core.errors import UserError
from stages.photos import archive
from studies import cluster
from tools import command
from tools.predict import MODEL, Pictures

COUNT, PAIRS, BUCKET_COUNT = 5000, 3, 1000
USER = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def seconds(source: str, to: str, model: Path, shard: int, **environment: str) -> float:
    """How long a whole `predict --to` takes."""
    words = [sys.executable, "-m", "tools.predict", source, "--to", to, "--model", str(model), "--shard", str(shard)]
    start = time.perf_counter()
    done = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip())
    return time.perf_counter() - start


def same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder")
    parser.add_argument("--count", type=int, default=COUNT, help=f"how many of them at most ({COUNT})")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--shard", type=int, default=250, help="photos a file, about (250)")
    options = parser.parse_args()
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UserError("Ray is not installed: `make bench-ray` brings it.") from None
    paths = [os.path.abspath(path) for path in Pictures([str(options.photos)]) if archive.is_photo(path)][: options.count]
    if not paths:
        raise UserError(f"no picture in {options.photos}")
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        with open(place / "list.csv", "w", newline="") as file:
            csv.writer(file).writerows([["file"], *([path] for path in paths)])
        times: list[tuple[float, float]] = []
        with cluster.local(1, environment.THREADS, hidden=False) as running:
            for number in range(options.pairs):
                pair = []
                for name, env in ("alone", {}), ("ray", running.driver):
                    pair.append(
                        seconds(str(place / "list.csv"), str(place / f"{name}{number}"), options.model, options.shard, **env)
                    )
                if not same(place / f"alone{number}", place / f"ray{number}"):
                    raise UserError("The files of both sides differ.")
                times.append((pair[0], pair[1]))
                print(
                    f"pair {number + 1}: alone {pair[0]:.1f} s, Ray {pair[1]:.1f} s, {pair[1] / pair[0]:.3f} times as long",
                    flush=True,
                )
        ratio = statistics.median(other / one for one, other in times)
        print(f"{len(paths)} photos, {environment.THREADS} cores: Ray takes {ratio:.3f} times as long (median of {options.pairs})")
        bucket(paths[:BUCKET_COUNT], options, place)


def bucket(paths: list[str], options: argparse.Namespace, place: Path) -> None:
    """The same once from a bucket and to it."""
    try:
        import s3fs
        from moto.server import ThreadedMotoServer
    except ImportError:
        print("S3 is not timed: `make bench-ray` takes what `make test` installs.")
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        env = USER | {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        os.environ.update(env)
        fs = s3fs.S3FileSystem()
        fs.mkdir("photos")
        fs.mkdir("out")
        fs.pipe({f"photos/{number}{Path(path).suffix}": Path(path).read_bytes() for number, path in enumerate(paths)})
        with cluster.local(1, environment.THREADS, hidden=False, **env) as running:
            alone = seconds("s3://photos", "s3://out/alone", options.model, options.shard)
            ray = seconds("s3://photos", "s3://out/ray", options.model, options.shard, **running.driver)
        print(f"{len(paths)} photos from a bucket to a bucket: alone {alone:.1f} s, Ray {ray:.1f} s")
    finally:
        server.stop()


if __name__ == "__main__":
    command.start(main)
