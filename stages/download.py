"""Bring the photos as one archive, or a list of photos that stay where they are, with a note of where they come from.

    dvc exp run -S download.source=microsoft          # or kaggle, cifar10, path, bucket

Writes data/raw/photos.zip, or for the source `bucket` data/raw/photos.csv, and data/raw/source.json. The note holds no date, and
of an archive no path: it is the same whichever route brought the same bytes. Of a list it says what its names are relative to.
"""

from littledata.core import process

process.begin("download", __name__)

import json

from littledata.core import files, stage
from littledata.photos import download


def main(params) -> None:
    params = params.download
    found, route = download.listed(params)
    digest = download.keep(found, params)
    download.say(found, route, params)
    with files.whole(download.NOTE) as file:
        file.write(json.dumps(download.about(found, digest, params), indent=2).encode() + b"\n")


if __name__ == "__main__":
    stage.run("download", main)
