"""Bring the photos as one archive, or a list of photos that stay where they are, with a note of where they come from.

    dvc exp run -S download.source=microsoft          # or kaggle, cifar10, path, bucket

Writes data/raw/photos.zip, or for the source `bucket` data/raw/photos.csv, and data/raw/source.json. The note holds no date, and
of an archive no path: it is the same whichever route brought the same bytes. Of a list it says what its names are relative to.
"""

import os
import shutil
from pathlib import Path

from littledata.core import files
from littledata.core.errors import UserError
from littledata.photos import archive, fetch, lists, names, sources

RAW = Path("data/raw")


def check_digest(params, held: str) -> None:
    """Raise UserError where the photos are not those whose digest params.yaml has.

    Kaggle's archive, and above all a folder or a bucket, may not be what it was when its digest was noted.
    """
    if params["source"] in ("kaggle", "path", "bucket") and params["sha256"] not in (None, held):
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


def packed(params, source: sources.Source) -> dict:
    """Bring a zip, or pack a folder; returns the note of it."""
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
    say(params, found, route)
    if found.skipped:
        print(f"can't be used: {len(found.skipped)}, which subsample lists in data/skipped.csv")
    return {
        "sha256": files.sha256_of(RAW / "photos.zip"),
        "skipped": [] if found.archive else found.skipped,  # what isn't in the zip
        "left_out": dict(sorted(found.left_out.items())),
        "splits": found.splits(),
    }


def listed(params) -> dict:
    """List photos that stay where they are; returns the note of it. The list that `make repro` has just made is taken, if it is the
    one that params name: in a bucket that grows the next one would be another."""
    path, route = sources.bring(params)
    found = lists.brought(lists.LATEST)
    if found is None or (found.path, found.sha256) != (path, params["sha256"]):
        found = lists.bring(path, lists.LATEST)
    print(*found.lines(), sep="\n", end="\n" if found.lines() else "")
    found.check()
    check_digest(params, found.sha256)
    RAW.mkdir(parents=True, exist_ok=True)
    with files.whole(RAW / lists.LIST) as file, open(lists.LATEST / lists.LIST, "rb") as brought:
        shutil.copyfileobj(brought, file)
    say(params, found, route)
    return {
        "sha256": found.sha256,
        "skipped": [],
        "left_out": found.left_out,
        "splits": found.given,
        "path": found.path,
        "base": found.base,
        "counts": found.of_class,
        "bytes": found.bytes,
    }


def say(params, found: archive.Listing | lists.Summary, route: str) -> None:
    counts = names.some((f"{count} {name}" for name, count in found.counts().items()), 20)
    print(f"{params['source']}: {found.size() / 1e6:.0f} MB by {route}: {counts}")
