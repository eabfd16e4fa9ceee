"""Kaggle's submission for Dogs vs. Cats: every test photo's probability of being a dog.

    submit test1.zip --sample sampleSubmission.csv      # writes submission.csv

test1.zip and sampleSubmission.csv are the competition's own files. Probabilities are clipped, because its log loss makes
one sure mistake cost as much as a hundred unsure ones: with 0.005 at most 5.3.
"""

import argparse
import csv
import os
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from littledata.core import command
from littledata.core.errors import UserError
from littledata.photos import archive
from littledata.predict import predict

HEADER = ["id", "label"]
UNKNOWN = 0.5


def photos(test: zipfile.ZipFile, path: Path) -> dict[int, tuple[zipfile.ZipInfo, str]]:
    """The archive's photos by their ids, which are their names: test1/17.jpg has 17."""
    found: dict[int, tuple[zipfile.ZipInfo, str]] = {}
    for entry, name in archive.entries(test):
        stem = PurePosixPath(name).stem
        if archive.is_photo(name) and re.fullmatch(r"\d{1,9}", stem):
            found[int(stem)] = (entry, name)
    if not found:
        raise UserError(f"{path} has no photos such as test1/17.jpg: give the competition's test1.zip.")
    return found


def sample_ids(path: Path) -> list[int]:
    """The ids in the order of Kaggle's sampleSubmission.csv."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        ids = [int(row[0]) for row in rows]
    except (OSError, ValueError, IndexError):
        raise UserError(f"{path} can't be read as Kaggle's sampleSubmission.csv: a header id,label and a line a photo.") from None
    if header != HEADER:
        raise UserError(f"{path} begins with {','.join(header)}, not id,label: give the competition's sampleSubmission.csv.")
    return ids


def listed(ids) -> str:
    """Some numbers for people, the first few."""
    ids = sorted(ids)
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")


def main() -> None:
    parser = argparse.ArgumentParser(prog="submit", description=__doc__.splitlines()[0])
    parser.add_argument("test", type=Path, help="Kaggle's test1.zip")
    parser.add_argument("--sample", type=Path, help="Kaggle's sampleSubmission.csv, whose ids the submission has to have")
    parser.add_argument("--out", type=Path, default=Path("submission.csv"), help="default: submission.csv")
    parser.add_argument("--clip", type=float, default=0.005, help="no probability nearer to 0 or 1 (default: 0.005)")
    parser.add_argument("--model", type=Path, default=predict.OWN, help="default: what `make repro` wrote")
    options = parser.parse_args()
    if not 0 <= options.clip < 0.5:
        parser.error("--clip is 0 or more and below 0.5")
    classifier = predict.Classifier(options.model)
    if "dog" not in classifier.classes:
        raise UserError(f"The classifier knows {', '.join(classifier.classes)}: the competition asks for a dog's probability.")
    dog = classifier.classes.index("dog")
    with archive.open_zip(options.test) as test:
        of_id = photos(test, options.test)
        ids = sorted(of_id)
        if options.sample:
            ids = sample_ids(options.sample)
            if missing := set(ids) - set(of_id):
                raise UserError(f"{options.test} lacks {len(missing)} photos that {options.sample} asks for: {listed(missing)}.")
            if more := set(of_id) - set(ids):
                raise UserError(f"{options.sample} lacks {len(more)} photos that {options.test} has: {listed(more)}.")
        part, unread = options.out.with_name(f"{options.out.name}.part"), 0
        try:
            with open(part, "w", newline="", encoding="utf-8") as file, tqdm(total=len(ids), unit=" photos", disable=None) as bar:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(HEADER)
                for number, found in predict.stream(classifier, ids, lambda number: archive.read(test, of_id[number][0])):
                    bar.update(1)
                    if isinstance(found, str):
                        unread += 1
                        bar.write(f"{of_id[number][1]}: {found}; its label is {UNKNOWN}", file=sys.stderr)
                        label = UNKNOWN
                    else:
                        label = min(max(float(found[dog]), options.clip), 1 - options.clip)
                    writer.writerow([number, f"{label:.6f}"])
            os.replace(part, options.out)
        finally:
            part.unlink(missing_ok=True)
    checked = f"the ids of {options.sample}" if options.sample else "not checked against a sampleSubmission.csv"
    print(f"{options.out}: {len(ids)} photos, {checked}; {unread} could not be read")


if __name__ == "__main__":
    command.start(main)
