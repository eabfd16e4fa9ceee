"""Bring the photos as one archive, with a note of where they come from.

    dvc exp run -S download.source=microsoft          # or kaggle, cifar10, path

Writes data/raw/photos.zip and data/raw/source.json. The note holds no date and no path: it is the same whichever
route brought the same bytes.
"""

import json
import os
import shutil
from pathlib import Path

from stages.lib import archive, fetch, files, sources, stage
from stages.lib.errors import UserError

RAW = Path("data/raw")


def main(params) -> None:
    params = params["download"]
    source = sources.SOURCES[params["source"]]
    # What the user holds in a file or folder may have changed since its digest was noted in params.yaml.
    held = sources.digest(params["source"], params["path"])
    if held and params["sha256"] and held != params["sha256"]:
        raise UserError(
            f"the photos behind the source {params['source']} have sha256 {held}, download.sha256 says otherwise. "
            f"Take them as they are: `make repro`, or `dvc exp run -S download.sha256={held}`."
        )
    brought, route = sources.bring(params)
    with archive.open_zip(brought) as photos:
        found = {name: len(entries) for name, entries in archive.by_class(photos, source.layout).items()}
    if not found:
        raise UserError(f"{route}: holds no photos in class folders.")

    size = brought.stat().st_size
    fetch.check_space(RAW, 2 * size)  # here and in DVC's cache
    RAW.mkdir(parents=True, exist_ok=True)
    part = RAW / "photos.part"
    shutil.copyfile(brought, part)
    os.replace(part, RAW / "photos.zip")
    note = {
        "source": params["source"],
        "sha256": files.sha256_of(RAW / "photos.zip"),
        "terms": source.terms,
        "layout": source.layout,
        "classes": dict(source.classes),
    }
    (RAW / "source.json").write_text(json.dumps(note, indent=2) + "\n")
    counts = ", ".join(f"{count} {name}" for name, count in found.items())
    print(f"{params['source']}: {size / 1e6:.0f} MB by {route}: {counts}")


if __name__ == "__main__":
    stage.run("download", main)
