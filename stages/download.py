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
from stages.photos import archive, fetch, names, sources

RAW = Path("data/raw")


def check_digest(params, held: str) -> None:
    """Raise UserError where the photos are not those whose digest params.yaml has.

    Kaggle's archive, and above all a folder, may not be what it was when its digest was noted.
    """
    if params["source"] in ("kaggle", "path") and params["sha256"] not in (None, held):
        raise UserError(
            f"the photos behind the source {params['source']} have sha256 {held}, download.sha256 says otherwise. "
            f"Take them as they are: `dvc exp run -S download.sha256={held}`."
        )


def check_classes(params, source: sources.Source, route: str, found: list[str]) -> None:
    """Raise UserError where a known set's archive doesn't have that set's classes."""
    if found and source.classes and set(found) != set(source.classes):
        raise UserError(
            f"{route}: holds {len(found)} classes ({', '.join(found[:4])}, ...), not the {params['source']} set's "
            f"{' and '.join(source.classes)}. For other photos: make repro SOURCE=path PHOTOS=..."
        )


def fill(part: Path, found: archive.Listing, params) -> None:
    """Write the zip of what was found: a folder's photos packed once, to where they stay; else the zip itself, copied."""
    if found.archive:
        check_digest(params, files.sha256_of(found.path))
        shutil.copyfile(found.path, part)
    else:
        check_digest(params, archive.pack(found, part))
        found.check()  # once more, without those that could not be read


def main(params) -> None:
    params = params["download"]
    source = sources.SOURCES[params["source"]]
    brought, route = sources.bring(params)
    with archive.listing(brought, source.layout) as found:
        print(*found.lines(), sep="\n", end="\n" if found.lines() else "")
        check_classes(params, source, route, list(found.counts()))
        found.check()
        fetch.check_space(RAW, 2 * found.size())  # here and in DVC's cache
        RAW.mkdir(parents=True, exist_ok=True)
        part = RAW / "photos.part"
        try:
            fill(part, found, params)
            os.replace(part, RAW / "photos.zip")
        finally:
            part.unlink(missing_ok=True)
    note = {
        "source": params["source"],
        "sha256": files.sha256_of(RAW / "photos.zip"),
        "terms": source.terms,
        "layout": source.layout,
        "classes": dict(source.classes),
        "skipped": [] if found.archive else found.skipped,  # what isn't in the zip
        "left_out": dict(sorted(found.left_out.items())),
        "splits": sorted({photo.split for photo in found.photos if photo.split}),  # that folders give
    }
    (RAW / "source.json").write_text(json.dumps(note, indent=2) + "\n")
    counts = names.some((f"{count} {name}" for name, count in found.counts().items()), 20)
    print(f"{params['source']}: {found.size() / 1e6:.0f} MB by {route}: {counts}")
    if found.skipped:
        print(f"can't be used: {len(found.skipped)}, which subsample lists in data/skipped.csv")


if __name__ == "__main__":
    stage.run("download", main)
