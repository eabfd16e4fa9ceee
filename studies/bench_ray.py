"""What Ray costs: the same photos predicted by this machine alone and by a Ray cluster of one node on the same cores.

    make bench-ray PHOTOS=~/pictures    # with models/classifier.onnx of `make repro RECIPE=light`

Runs are whole commands, in pairs, each pair beside each other in time; the cluster is up already.
"""

import argparse
import itertools
import os
import statistics
import tempfile
from collections import Counter
from pathlib import Path

from littledata.core import command, environment, tables
from littledata.core.errors import UserError
from littledata.export.classifier import OWN
from littledata.photos import archive
from littledata.predict.predict import pictures
from studies import cluster, measure

COUNT, PAIRS = 5000, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder")
    parser.add_argument("--model", type=Path, default=OWN)
    options = parser.parse_args()
    found = filter(archive.is_photo, pictures([str(options.photos)], Counter()))
    paths = list(map(os.path.abspath, itertools.islice(found, COUNT)))
    if not paths:
        raise UserError(f"no picture in {options.photos}")
    with tempfile.TemporaryDirectory() as temporary, cluster.local(1, environment.THREADS, hidden=False) as running:
        place, ratios = Path(temporary), []
        tables.write(place / "list.csv", ["file"], [[path] for path in paths])
        words = ["littledata.predict.predict", str(place / "list.csv"), "--model", str(options.model), "--shard", "250", "--to"]
        for number in range(PAIRS):
            alone = measure.run(*words, str(place / f"alone{number}")).seconds
            ray = measure.run(*words, str(place / f"ray{number}"), env=running.driver).seconds
            ratios.append(ray / alone)
            print(f"pair {number + 1}: alone {alone:.1f} s, Ray {ray:.1f} s", flush=True)
        middle = statistics.median(ratios)
        print(f"{len(paths)} photos, {environment.THREADS} cores: Ray takes {middle:.3f} times as long, median of {PAIRS} pairs")


if __name__ == "__main__":
    command.start(main)
