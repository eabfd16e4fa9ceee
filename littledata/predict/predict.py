"""Say what is on pictures, and how sure the classifier is. `. .venv/bin/activate`, then from anywhere:

    predict photo.jpg
    predict ~/pictures 'more/*.png' --format csv > answers.csv
    find / -name '*.jpg' | predict - --format json

Reads files, folders with all below them, globs, and `-` for a list of files on standard input, one a line or as `find -print0`
writes it. Prints a line a picture as soon as it is known. A picture that can't be read is a line on standard error, and makes the
exit status 1; what is no picture is left out of folders and counted.

With --to a folder, a bucket's prefix or a list goes into Parquet files, shard by shard (littledata/predict/batch.py).

In a checkout the classifier is models/classifier.onnx, which `make repro` writes, or another one of this project's, by --model; where
the package alone is installed, --model names it. It runs by ONNX Runtime; TensorFlow is not imported. A picture is computed by one
thread, so that its answer is the same to the last digit whatever other pictures there are.
"""

import argparse
import csv
import glob
import io
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from littledata.core import command
from littledata.core.errors import UserError
from littledata.export.classifier import OWN, Classifier
from littledata.photos import archive, names, places
from littledata.shards import rows

EXTRA = "--to takes pyarrow: .venv/bin/python tools/install.py requirements/run.txt, or pip install 'littledata[parquet]'."
SHARD = 1000  # photos, about: half a minute of a core


def pictures(paths: Iterable[str], left_out: Counter[str]) -> Iterator[str]:
    """The files that are meant by paths, one after the other. What is no picture is left out of folders, and counted by its ending."""
    for path in paths:
        if path == "-":
            yield from listed(sys.stdin.buffer)
        elif os.path.isdir(path):
            yield from below(path, left_out)
        elif glob.has_magic(path) and not os.path.exists(path):
            matches = glob.iglob(path, recursive=True)
            first = next(matches, None)
            # What matches nothing is named like a file that isn't there.
            yield from [path] if first is None else pictures(itertools.chain([first], matches), left_out)
        else:
            yield path


def below(folder: str, left_out: Counter[str]) -> Iterator[str]:
    """The pictures in a folder and below it, by what is in them, folder by folder, photo 2 before photo 10. Links to folders are left
    out. What can't be read is among them: whoever opens it says why."""
    files = archive.in_folder(folder, set(), links=False)
    for _, of_folder in itertools.groupby(files, lambda file: file[1].parent):
        for photo, at in sorted(of_folder, key=lambda file: names.natural(file[1].name)):
            kind, odd = archive.kind(None, at, photo), photo.problem if os.path.exists(at) and not os.path.isdir(at) else ""
            if other := names.system(photo.name) or odd or (kind is None and names.other(photo.name)):
                left_out[other] += 1
            else:
                yield os.path.join(folder, photo.key.rstrip("/"))


def listed(stream: Any) -> Iterator[str]:
    """A list of files, a line each, or as `find -print0` writes it."""
    end, last = None, b""
    while chunk := stream.read1(2**16):
        last += chunk
        end = end or (b"\0" if b"\0" in last else b"\n" if b"\n" in last else None)
        *whole, last = last.split(end) if end else [last]
        yield from filter(None, (os.fsdecode(name.rstrip(b"\r\n")) for name in whole))
    yield from filter(None, [os.fsdecode(last.rstrip(b"\r\n"))])


def as_table(classes: list[str]) -> Callable[[str, np.ndarray], None]:
    width = max(map(len, classes))
    return lambda name, row: print(f"{classes[row.argmax()]:<{width}}  {row.max():.3f}  {name}")


def as_csv(classes: list[str]) -> Callable[[str, np.ndarray], None]:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", *(f"probability_{name}" for name in classes)])
    return lambda name, row: writer.writerow([name, classes[row.argmax()], *(f"{value:.6f}" for value in row)])


def as_json(classes: list[str]) -> Callable[[str, np.ndarray], None]:
    """A line, and an object, a picture."""

    def write(name: str, row: np.ndarray) -> None:
        every = {kind: round(float(value), 6) for kind, value in zip(classes, row)}
        best = classes[row.argmax()]
        answer = {"file": name, "class": best, "probability": every[best], "probabilities": every}
        print(json.dumps(answer, ensure_ascii=False))

    return write


FORMATS = {"table": as_table, "csv": as_csv, "json": as_json}


def options() -> argparse.Namespace:
    """What the command line asks for; what can't be meant is argparse's error."""
    parser = argparse.ArgumentParser(prog="predict", description=__doc__.splitlines()[0].partition(" `")[0])
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="files, folders, globs, or - for a list on standard input")
    add("--format", choices=FORMATS, default="table", help="json has an object a line")
    add("--model", type=Path, default=OWN, help="in a checkout by default what `make repro` wrote")
    add("--to", help="predict one folder, s3://bucket/prefix, CSV or Parquet list into Parquet files in a folder or s3://")
    add("--update", action="store_true", help="with --to: the photos or the classifier have changed; keep what holds")
    add("--shard", type=int, default=SHARD, help=f"with --to: about how many photos a file has ({SHARD})")
    add("--about", action="store_true", help="say what the classifier is, as JSON")
    asked = parser.parse_args()
    if not asked.paths and not asked.about:
        parser.error("which pictures? Name files, folders or globs, or - for a list on standard input")
    if asked.to and (len(asked.paths) != 1 or asked.shard < 1):
        parser.error("--to takes one folder, s3://bucket/prefix or list, and shards of 1 photo or more")
    if not asked.to and any(map(places.is_bucket, asked.paths)):
        parser.error("a bucket's photos are predicted into files: name a folder or s3:// address by --to")
    return asked


def into_lines(classifier: Classifier, paths: list[str], form: str) -> bool:
    """Print a line a picture; returns whether all could be read."""
    start, right, wrong, left_out = time.perf_counter(), 0, 0, Counter()
    write = FORMATS[form](classifier.classes)
    # On a terminal the lines themselves are the progress.
    with tqdm(unit=" pictures", file=sys.stderr, disable=sys.stdout.isatty() or not sys.stderr.isatty()) as bar:
        answers = rows.answers(classifier, pictures(paths, left_out), lambda name: Path(name).read_bytes())
        for name, (probabilities, why_not, _) in answers:
            bar.update(1)
            if probabilities is None:
                wrong += 1
                bar.write(f"{name}: {why_not}", file=sys.stderr)
            else:
                right += 1
                write(name, probabilities)
                if sys.stdout.isatty():
                    sys.stdout.flush()
    sys.stdout.flush()  # in a log, what is said of all pictures comes after them
    if left_out:
        print(f"left out: {names.counted(left_out)}", file=sys.stderr)
    if not right + wrong:
        raise UserError(f"no picture in {', '.join(paths)}")
    if right + wrong > 1:
        rate = (right + wrong) / (time.perf_counter() - start)
        unread = f", {wrong} could not be read" if wrong else ""
        print(f"{right + wrong} pictures, {rate:.1f} a second{unread}", file=sys.stderr)
    return not wrong


def main() -> None:
    asked = options()
    for file in sys.stdin, sys.stdout, sys.stderr:
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="surrogateescape")  # a file's name may be any bytes
    if asked.to:
        try:
            from littledata.predict import batch
        except ImportError:
            raise UserError(EXTRA) from None
        batch.run(asked.paths[0], asked.to, asked.model, asked.shard, asked.update)
        return
    classifier = Classifier(asked.model)
    if asked.about:
        print(json.dumps(classifier.about, indent=2, ensure_ascii=False))
    if asked.paths and not into_lines(classifier, asked.paths, asked.format):
        sys.exit(1)


def cli() -> None:
    """The command `predict`."""
    try:
        command.start(main)
    except BrokenPipeError:  # `predict folder | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    cli()
