"""Kaggle's submission for Dogs vs. Cats: every test photo's probability of being a dog.

    submit test1.zip --sample sampleSubmission.csv      # writes submission.csv

test1.zip and sampleSubmission.csv are the competition's own files. Probabilities are clipped, because its log loss makes
one sure mistake cost as much as a hundred unsure ones: with 0.005 at most 5.3.
"""

import argparse
import csv
import re
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from littledata.core import command, tables
from littledata.core.errors import UserError
from littledata.export.classifier import OWN, Classifier
from littledata.photos import archive
from littledata.shards import rows

HEADER = ["id", "label"]
UNKNOWN = 0.5


def photos(test: zipfile.ZipFile, path: Path) -> dict[int, tuple[zipfile.ZipInfo, str]]:
    """The archive's photos and their names by their ids: test1/17.jpg has 17."""
    of_id = {}
    for entry, name in archive.entries(test):
        stem = PurePosixPath(name).stem
        if archive.is_photo(name) and re.fullmatch(r"\d{1,9}", stem):
            of_id[int(stem)] = entry, name
    if not of_id:
        raise UserError(f"{path} has no photos such as test1/17.jpg: give the competition's test1.zip.")
    return of_id


def sample_ids(path: Path) -> list[int]:
    """The ids in the order of Kaggle's sampleSubmission.csv."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        ids = [int(line[0]) for line in lines]
    except (OSError, ValueError, IndexError):
        raise UserError(f"{path} can't be read as Kaggle's sampleSubmission.csv: a header id,label and a line a photo.") from None
    if header != HEADER:
        raise UserError(f"{path} begins with {','.join(header)}, not id,label: give the competition's sampleSubmission.csv.")
    return ids


def compare(ids: Iterable[int], others: Iterable[int], lacking: Path, what: str) -> None:
    """Raise UserError where some ids are not among the others; it names the first few."""
    if missing := sorted(set(ids) - set(others)):
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise UserError(f"{lacking} lacks {len(missing)} photos that {what}: {shown}.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="submit", description=__doc__.splitlines()[0])
    parser.add_argument("test", type=Path, help="Kaggle's test1.zip")
    parser.add_argument("--sample", type=Path, help="Kaggle's sampleSubmission.csv, whose ids the submission has to have")
    parser.add_argument("--out", type=Path, default=Path("submission.csv"), help="default: submission.csv")
    parser.add_argument("--clip", type=float, default=0.005, help="no probability nearer to 0 or 1 (default: 0.005)")
    parser.add_argument("--model", type=Path, default=OWN, help="in a checkout by default what `make repro` wrote")
    options = parser.parse_args()
    if not 0 <= options.clip < 0.5:
        parser.error("--clip is 0 or more and below 0.5")
    classifier, unread = Classifier(options.model), 0
    if "dog" not in classifier.classes:
        raise UserError(f"The classifier knows {', '.join(classifier.classes)}: the competition asks for a dog's probability.")
    dog = classifier.classes.index("dog")
    with archive.open_zip(options.test) as test:
        of_id = photos(test, options.test)
        ids = sample_ids(options.sample) if options.sample else sorted(of_id)
        compare(ids, of_id, options.test, f"{options.sample} asks for")
        compare(of_id, ids, options.sample, f"{options.test} has")

        labels = []
        answers = rows.answers(classifier, ids, lambda number: archive.read(test, of_id[number][0]))
        for number, (probabilities, why_not, _) in tqdm(answers, total=len(ids), unit=" photos", disable=None):
            label = UNKNOWN
            if probabilities is None:
                unread += 1
                tqdm.write(f"{of_id[number][1]}: {why_not}; its label is {UNKNOWN}", file=sys.stderr)
            else:
                label = min(max(float(probabilities[dog]), options.clip), 1 - options.clip)
            labels.append((number, f"{label:.6f}"))
        tables.write(options.out, HEADER, labels)
    checked = f"the ids of {options.sample}" if options.sample else "not checked against a sampleSubmission.csv"
    print(f"{options.out}: {len(ids)} photos, {checked}; {unread} could not be read")


def cli() -> None:
    """The command `submit`."""
    command.start(main)


if __name__ == "__main__":
    cli()
