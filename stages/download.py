"""Bring the photos as one archive, with a note of where they come from.

    dvc exp run -S download.source=microsoft          # or kaggle, cifar10, path

Writes data/raw/photos.zip and data/raw/source.json. The note holds no date and no path: it is the same whichever
route brought the same bytes.
"""

import json
import os
import shutil
from pathlib import Path

from stages.core import files, stage
from stages.core.errors import UserError
from stages.photos import archive, fetch, sources

RAW = Path("data/raw")


def main(params) -> None:
    params = params["download"]
    source = sources.SOURCES[params["source"]]
    brought, route = sources.bring(params)
    sha256 = files.sha256_of(brought)
    # Kaggle's archive, and above all a folder, may not be what it was when its digest was noted in params.yaml.
    held = sources.digest("path", params["path"]) if params["source"] == "path" else sha256
    if params["source"] in ("kaggle", "path") and params["sha256"] not in (None, held):
        raise UserError(
            f"the photos behind the source {params['source']} have sha256 {held}, download.sha256 says otherwise. "
            f"Take them as they are: `dvc exp run -S download.sha256={held}`."
        )
    with archive.open_zip(brought) as photos:
        found = {name: len(entries) for name, entries in archive.by_class(photos, source.layout).items()}
    if not found:
        raise UserError(f"{route}: holds no photos in class folders.")
    if source.classes and set(found) != set(source.classes):
        raise UserError(
            f"{route}: holds {len(found)} classes ({', '.join(list(found)[:4])}, ...), not the {params['source']} set's "
            f"{' and '.join(source.classes)}. For other photos: make repro SOURCE=path PHOTOS=..."
        )

    size = brought.stat().st_size
    fetch.check_space(RAW, 2 * size)  # here and in DVC's cache
    RAW.mkdir(parents=True, exist_ok=True)
    part = RAW / "photos.part"
    shutil.copyfile(brought, part)
    os.replace(part, RAW / "photos.zip")
    note = {
        "source": params["source"],
        "sha256": sha256,
        "terms": source.terms,
        "layout": source.layout,
        "classes": dict(source.classes),
    }
    (RAW / "source.json").write_text(json.dumps(note, indent=2) + "\n")
    counts = ", ".join(f"{count} {name}" for name, count in found.items())
    print(f"{params['source']}: {size / 1e6:.0f} MB by {route}: {counts}")


if __name__ == "__main__":
    stage.run("download", main)
