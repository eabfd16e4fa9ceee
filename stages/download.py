"""Bring the photos as one archive, or a list of photos that stay where they are, with a note of where they come from.

    dvc exp run -S download.source=microsoft          # or kaggle, cifar10, path, bucket

Writes data/raw/photos.zip, or for the source `bucket` data/raw/photos.csv, and data/raw/source.json. The note holds no date, and
of an archive no path: it is the same whichever route brought the same bytes. Of a list it says what its names are relative to.
"""

from littledata.core import process

process.begin("download", __name__)

import json

from littledata.core import files, stage
from littledata.photos import download, sources


def main(params) -> None:
    params = params["download"]
    source = sources.SOURCES[params["source"]]
    note = {
        "source": params["source"],
        "sha256": "",
        "terms": source.terms,
        "layout": source.layout,
        "classes": dict(source.classes),
    }
    note |= download.listed(params) if source.in_place else download.packed(params, source)
    with files.whole(download.RAW / "source.json") as file:
        file.write(json.dumps(note, indent=2).encode() + b"\n")


if __name__ == "__main__":
    stage.run("download", main)
