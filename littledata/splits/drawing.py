"""Draw photos from a list of what stays where it is: those that are drawn are read, hashed and copied, and no other."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from littledata.core import environment, files
from littledata.photos import listing, places
from littledata.photos.places import Photo
from littledata.pictures import images, kinds

SOME = 1000  # photos that are handed to the readers at once
DECODING = threading.BoundedSemaphore(environment.THREADS)  # a large picture takes 0.4 GB
LEARNT_LAST = ("test", "validation", "train")  # of copies in given splits the first one counts


def draw(
    photos: Iterable[Photo],
    base: str,
    place: Callable[[int, Photo], bytes],
    wanted: Mapping[str, int | None],
    to: Path,
    skipped: list[tuple[str, str]],
    bar,
) -> dict[str, list[tuple[Photo, str]]]:
    """Draw photos of each class: those that can be used, each with its sha256, in their order. A class has fewer of them than are
    wanted where its list is through.

    Parameters
    ----------
    photos, base : the list, and what its names are relative to
    place : what photos of a class are ordered by, of a photo and its number in the list
    wanted : how many photos of each class; None: all
    to : a folder that takes the photos' bytes, each as a file called by its sha256
    skipped : takes the name and the reason of photos that can't be used, and of copies

    Raises
    ------
    UserError
        Where a bucket does not do what it is asked for.
    """
    to.mkdir(parents=True)
    table = _ordered(photos, place)
    rows = {kind: _of_class(table, kind) for kind in wanted}
    found = _Found(wanted, skipped)
    with ThreadPoolExecutor(places.READERS) as readers:

        def fill(kind: str) -> bool:
            """Read as many photos of a class as are missing, until none is; returns whether there was one to read."""
            any_read = False
            while some := list(islice(rows[kind], found.missing(kind))):
                any_read = True
                for photo, (sha256, reason) in zip(some, readers.map(lambda photo: _copied(base, photo, to), some)):
                    found.add(photo, sha256, reason)
                    bar.update(1)
            return any_read

        # Once more, where a photo that was drawn turned out to be in another class as well.
        while any([fill(kind) for kind in wanted]):
            pass
    table.close()
    return {kind: [(photo, sha256) for sha256, photo in of_class.items()] for kind, of_class in found.drawn.items()}


class _Found:
    """The photos that are drawn: of copies in one class the first, of those in two classes none."""

    def __init__(self, wanted: Mapping[str, int | None], skipped: list[tuple[str, str]]) -> None:
        self.wanted, self.skipped = wanted, skipped
        self.drawn: dict[str, dict[str, Photo]] = {kind: {} for kind in wanted}
        self.first: dict[str, Photo] = {}
        self.torn: set[str] = set()

    def missing(self, kind: str) -> int:
        wanted = self.wanted[kind]
        return SOME if wanted is None else min(SOME, wanted - len(self.drawn[kind]))

    def add(self, photo: Photo, sha256: str, reason: str) -> None:
        if reason:
            self.skipped.append((photo.name, reason))
            return
        first = self.first.setdefault(sha256, photo)
        if first is photo:
            self.drawn[photo.kind][sha256] = photo
        elif photo.kind == first.kind and sha256 not in self.torn:
            what = "a copy" if photo.split == first.split else f"a copy in {photo.split} of a photo in {first.split}"
            self.skipped.append((photo.name, f"{what}: the same bytes as {first.name}"))
        else:
            self._tear(first, photo, sha256)

    def _tear(self, first: Photo, photo: Photo, sha256: str) -> None:
        self.skipped.append((photo.name, f"in two classes: the same bytes as {first.name}"))
        if sha256 not in self.torn:
            self.torn.add(sha256)
            del self.drawn[first.kind][sha256]
            self.skipped.append((first.name, f"in two classes: the same bytes as {photo.name}"))


def _ordered(photos: Iterable[Photo], place: Callable[[int, Photo], bytes]):
    """A table of the photos, on disk, by class and place."""
    table = listing.on_disk("(kind TEXT, place BLOB, key BLOB, size INTEGER, etag TEXT, split TEXT)")
    rows = (
        (photo.kind, _rank(photo.split) + place(number, photo), os.fsencode(photo.key), photo.size, photo.etag, photo.split)
        for number, photo in enumerate(photos)
    )
    table.execute("BEGIN")
    table.executemany("INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?)", rows)
    table.execute("CREATE INDEX by_place ON photos (kind, place, key)")  # afterwards: it is sorted then, in half of the time
    table.execute("COMMIT")
    return table


def _rank(split: str) -> bytes:
    return bytes([LEARNT_LAST.index(split)]) if split else b""


def _of_class(table, kind: str) -> Iterator[Photo]:
    for key, *about in table.execute("SELECT key, size, etag, kind, split FROM photos WHERE kind = ? ORDER BY place, key", [kind]):
        yield Photo(os.fsdecode(key), *about)


def _copied(base: str, photo: Photo, to: Path) -> tuple[str, str]:
    """Copy a photo into a folder: its sha256 and "", or "" and the reason why it can't be used."""
    try:
        data = places.photo(base, photo)
        if reason := kinds.of(photo.name, data[: kinds.HEAD]):
            return "", reason
        with DECODING:
            images.decode(data, images.LOOK)
    except (places.Unavailable, images.UnreadablePhoto) as error:
        return "", str(error)
    sha256 = hashlib.sha256(data).hexdigest()
    with files.whole(to / sha256) as file:
        file.write(data)
    return sha256, ""
