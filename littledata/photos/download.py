"""What the stage `download` does with a listing: pack a folder, copy a zip, or keep the list of photos that stay where they are."""

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from littledata.core import files
from littledata.core.errors import UserError
from littledata.photos import archive, fetch, listing, names, sources

RAW = Path("data/raw")
NOTE = RAW / "source.json"
ZIP = RAW / "photos.zip"
LIST = RAW / "photos.csv"  # of photos that stay where they are, in place of the archive


def listed(params) -> tuple[listing.Listing, Path | str]:
    """The listing of `params.source`, and the route that it came by; checked.

    `make repro` hands over the one that it has made. It is taken as well where it is the list that `download.sha256` names: in a bucket
    that grows the next one would be another. A handed-over listing of an earlier run is not.

    Raises
    ------
    UserError
        Where the source can't be had, or what it holds no params could use.
    """
    source = sources.SOURCES[params.source]
    path, route = sources.bring(params)
    found = listing.handed_over(params.source, path)
    if found is None or found.sha256 not in (os.environ.get(listing.HANDED_OVER), params.sha256):
        found = listing.of(params.source, path, source.layout)
    print(*found.lines(), sep="\n", end="\n" if found.lines() else "")
    classes = list(found.counts())
    if classes and source.classes and set(classes) != set(source.classes):
        raise UserError(
            f"{route}: holds {len(classes)} classes ({', '.join(classes[:4])}, ...), not the {params.source} set's "
            f"{' and '.join(source.classes)}. For other photos: make repro SOURCE=path PHOTOS=..."
        )
    found.check()
    return found, route


def keep(found: listing.Listing, params) -> str:
    """Write the zip or the list to where it stays, in one read of the photos; returns what `download.sha256` is to say.

    Raises
    ------
    UserError
        Where that is not what params say: Kaggle's archive, and above all a folder or a bucket, may have changed since.
    """
    in_place = sources.SOURCES[params.source].in_place
    if not in_place:
        fetch.check_space(RAW, 2 * found.size)  # here and in DVC's cache
    RAW.mkdir(parents=True, exist_ok=True)
    part = RAW / "photos.part"
    try:
        if in_place:
            with open(part, "wb") as file:
                listing.write(file, found.photos)
            digest = found.sha256
        else:
            digest = pack(found, part) if found.base else files.sha256_of(shutil.copyfile(found.path, part))
            found.check()  # once more, without those that could not be read
        if params.source in ("kaggle", "path", "bucket") and params.sha256 not in (None, digest):
            raise UserError(
                f"the photos behind the source {params.source} have sha256 {digest}, download.sha256 says otherwise. "
                f"Take them as they are: `dvc exp run -S download.sha256={digest}`."
            )
        os.replace(part, LIST if in_place else ZIP)
    finally:
        part.unlink(missing_ok=True)
    return digest


def pack(found: listing.Listing, target: Path) -> str:
    """Write a folder's photos into a zip whose bytes depend on names and contents alone; returns one digest for the folder: sha256 over
    every photo's sha256 and path, in order of the paths. Photos that can't be read go to the listing's `skipped`."""
    digest = hashlib.sha256()

    def photos() -> Iterator[tuple[str, bytes]]:
        for photo in sorted(found.photos, key=lambda photo: (photo.name, os.fsencode(photo.key))):
            try:
                data = found.read(photo)
            except archive.Unreadable as error:
                found.skip(photo, str(error))
                continue
            digest.update(f"{hashlib.sha256(data).hexdigest()}  {photo.name}\n".encode())
            yield photo.name, data

    with warnings.catch_warnings(action="ignore"):  # two files may have the same name
        files.write_zip(target, photos())
    return digest.hexdigest()


def about(found: listing.Listing, digest: str, params) -> Mapping:
    """What data/raw/source.json says. No date, and of an archive no path: it is the same whichever route brought the same bytes."""
    source = sources.SOURCES[params.source]
    note = {
        "source": params.source,
        "digest": digest,
        "sha256": files.sha256_of(ZIP) if found.base and not source.in_place else digest,  # of the file beside it
        "terms": source.terms,
        "layout": source.layout,
        "classes": dict(source.classes),
        "counts": found.counts(),
        "splits": found.splits(),
        "skipped": [(photo.name, photo.problem) for photo in found.skipped] if found.base else [],  # what isn't in the zip
        "left_out": dict(sorted(found.left_out.items())),
        "bytes": found.size,
    }
    return note | ({"path": found.path, "base": found.base} if source.in_place else {})


def say(found: listing.Listing, route: Path | str, params) -> None:
    counts = names.some((f"{count} {name}" for name, count in found.counts().items()), 20)
    print(f"{params.source}: {found.size / 1e6:.0f} MB by {route}: {counts}")
    if found.skipped:
        print(f"can't be used: {len(found.skipped)}, which subsample lists in data/skipped.csv")
