"""Say what is on pictures, and how sure the classifier is. `. .venv/bin/activate`, then from anywhere:

    predict photo.jpg
    predict ~/pictures 'more/*.png' --format csv > found.csv
    find / -name '*.jpg' | predict - --format json

Reads files, folders with all below them, globs, and `-` for a list of files on standard input, one a line or as `find -print0`
writes it. Prints a line a picture as soon as it is known. A picture that can't be read is a line on standard error, and makes the
exit status 1; what is no picture is left out of folders and counted.

With --to a folder, a bucket's prefix or a list goes into Parquet files, shard by shard (littledata/predict/batch.py).

The classifier is models/classifier.onnx, which `make repro` writes, or another one of this project's, by --model. It runs
by ONNX Runtime; TensorFlow is not imported. A picture is read and computed by one thread, so that its
answer is the same to the last digit whatever other pictures there are.
"""

import argparse
import csv
import glob
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from littledata.core import command, environment
from littledata.export.classifier import OWN, Classifier
from littledata.features import layers
from littledata.photos import archive, names, places
from littledata.pictures import images, kinds
from littledata.predict import batch

AHEAD = 2 * environment.THREADS  # pictures that are read before they are asked for
SORTED = 10_000  # names; more are not held, so that folders of millions don't show in memory


def stream(classifier: Classifier, items: Iterable, data: Callable) -> Iterator[tuple[object, np.ndarray | str]]:
    """Each item with its probabilities, or with the reason why there are none, in order and in flat memory.

    `data` gives an item's bytes; an OSError or archive.Unreadable of it is such a reason.
    """

    def answer(item) -> tuple[object, np.ndarray | str]:
        try:
            return item, classifier.probabilities(classifier.read(data(item), str(item))[None])[0]
        except OSError as error:
            return item, error.strerror or str(error)
        except (archive.Unreadable, images.UnreadablePhoto) as error:
            return item, str(error)

    with ThreadPoolExecutor(environment.THREADS) as pool:
        yield from layers.ahead(pool, answer, items, AHEAD)


class Pictures:
    """The files that are meant by paths. What is no picture is left out of folders, and counted in `left_out` by its ending."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths, self.left_out = paths, Counter()

    def __iter__(self) -> Iterator[str]:
        return self.meant(self.paths)

    def meant(self, paths: Iterable[str]) -> Iterator[str]:
        """The files, one after the other."""
        for path in paths:
            if path == "-":
                yield from self.listed(sys.stdin.buffer)
            elif os.path.isdir(path):
                yield from self.below(path)
            elif glob.has_magic(path) and not os.path.exists(path):
                found = glob.iglob(path, recursive=True)
                first = next(found, None)
                # What matches nothing is named like a file that isn't there.
                yield from [path] if first is None else self.meant(itertools.chain([first], found))
            else:
                yield path

    def below(self, folder: str) -> Iterator[str]:
        """The pictures in a folder and below it, by what is in them. Links to folders are left out."""
        try:
            entries = os.scandir(folder)
        except OSError:
            yield folder  # whoever opens it says why it can't be read
            return
        with entries:
            while some := sorted(itertools.islice(entries, SORTED), key=lambda entry: names.natural(entry.name)):
                for entry in some:
                    if where := names.system(f"{entry.name}/" if self.is_folder(entry) else entry.name):
                        self.left_out[where] += 1
                    elif self.is_folder(entry) and not entry.is_symlink():
                        yield from self.below(entry.path)
                    elif self.is_picture(entry):
                        yield entry.path

    @staticmethod
    def is_folder(entry: os.DirEntry) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link to itself, or what lies in a folder that may be listed alone
            return False

    def is_picture(self, entry: os.DirEntry) -> bool:
        """Whether a file looks like a picture, be it one that can't be read: then whoever opens it says so."""
        try:
            if not entry.is_file():
                if not entry.is_dir() and entry.stat():  # which raises OSError for a link to nothing
                    self.left_out["a pipe, a socket or a device"] += 1
                return False
            if archive.is_photo(entry.name):
                return True
            with open(entry.path, "rb") as file:
                kind = kinds.of(entry.name, file.read(kinds.HEAD))
        except OSError:
            return True
        if kind is None:
            self.left_out[names.ending(entry.name) or "without an ending"] += 1
        return kind is not None

    @staticmethod
    def listed(stream: BinaryIO) -> Iterator[str]:
        """A list of files, a line each, or as `find -print0` writes it."""
        end, rest = None, b""
        while some := stream.read1(2**16):
            rest += some
            end = end or (b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else None)
            *whole, rest = rest.split(end) if end else [rest]
            yield from filter(None, (os.fsdecode(name.rstrip(b"\r\n")) for name in whole))
        yield from filter(None, [os.fsdecode(rest.rstrip(b"\r\n"))])


def as_table(classes: list[str]) -> Callable:
    width = max(map(len, classes))
    return lambda name, row: f"{classes[row.argmax()]:<{width}}  {row.max():.3f}  {name}"


def as_csv(classes: list[str]) -> Callable:
    writer = csv.writer(line := Line(), lineterminator="")
    writer.writerow(["file", "class", *(f"probability_{name}" for name in classes)])
    print(line.text)

    def written(name: str, row: np.ndarray) -> str:
        writer.writerow([name, classes[row.argmax()], *(f"{value:.6f}" for value in row)])
        return line.text

    return written


class Line:
    """The file that csv writes a line to."""

    def write(self, text: str) -> None:
        self.text = text


def as_json(classes: list[str]) -> Callable:
    """A line, and an object, a picture."""

    def written(name: str, row: np.ndarray) -> str:
        every = {kind: round(float(value), 6) for kind, value in zip(classes, row)}
        best = classes[row.argmax()]
        return json.dumps({"file": name, "class": best, "probability": every[best], "probabilities": every}, ensure_ascii=False)

    return written


FORMATS = {"table": as_table, "csv": as_csv, "json": as_json}


def main() -> None:
    parser = argparse.ArgumentParser(prog="predict", description=__doc__.splitlines()[0].partition(" `")[0])
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files, folders, globs, or - for a list on standard input")
    parser.add_argument("--format", choices=FORMATS, default="table", help="json has an object a line")
    parser.add_argument("--model", type=Path, default=OWN, help="default: what `make repro` wrote")
    parser.add_argument(
        "--to", help="predict one folder, s3://bucket/prefix, CSV or Parquet list into Parquet files in a folder or s3://"
    )
    parser.add_argument(
        "--update", action="store_true", help="with --to: the photos or the classifier have changed; keep what holds"
    )
    parser.add_argument(
        "--shard", type=int, default=batch.SHARD, help=f"with --to: about how many photos a file has ({batch.SHARD})"
    )
    parser.add_argument("--about", action="store_true", help="say what the classifier is, as JSON")
    options = parser.parse_args()
    if not options.paths and not options.about:
        parser.error("which pictures? Name files, folders or globs, or - for a list on standard input")
    if options.to and (len(options.paths) != 1 or options.shard < 1):
        parser.error("--to takes one folder, s3://bucket/prefix or list, and shards of 1 photo or more")
    if not options.to and any(map(places.is_bucket, options.paths)):
        parser.error("a bucket's photos are predicted into files: name a folder or s3:// address by --to")
    for file in sys.stdin, sys.stdout, sys.stderr:
        file.reconfigure(errors="surrogateescape")  # a file's name may be any bytes
    if options.to:
        batch.run(options.paths[0], options.to, options.model, options.shard, options.update)
        return
    classifier = Classifier(options.model)
    if options.about:
        print(json.dumps(classifier.about, indent=2, ensure_ascii=False))
    start, right, wrong, pictures = time.perf_counter(), 0, 0, Pictures(options.paths)
    line = FORMATS[options.format](classifier.classes) if options.paths else None
    # On a terminal the lines themselves are the progress.
    with tqdm(unit=" pictures", file=sys.stderr, disable=sys.stdout.isatty() or not sys.stderr.isatty()) as bar:
        for name, found in stream(classifier, pictures, lambda name: Path(name).read_bytes()):
            bar.update(1)
            if isinstance(found, str):
                wrong += 1
                bar.write(f"{name}: {found}", file=sys.stderr)
            else:
                right += 1
                print(line(name, found), flush=sys.stdout.isatty())
    sys.stdout.flush()  # in a log, what is said of all pictures comes after them
    if pictures.left_out:
        print(f"left out: {names.counted(pictures.left_out)}", file=sys.stderr)
    if options.paths and not right + wrong:
        sys.exit(f"no picture in {', '.join(options.paths)}")
    if right + wrong > 1:
        rate = (right + wrong) / (time.perf_counter() - start)
        unread = f", {wrong} could not be read" if wrong else ""
        print(f"{right + wrong} pictures, {rate:.1f} a second{unread}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    try:
        command.start(main)
    except BrokenPipeError:  # `predict folder | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
