"""CIFAR-10's photos as class folders, to try the way of one's own photos on: any of its classes, as many as you say.

    python -m tools.cifar10 /tmp/mine cat=1000 dog=300 frog=100
    python -m tools.cifar10 /tmp/mine all=30

Then `make repro SOURCE=path PHOTOS=/tmp/mine`. A class has 6,000 photos, 32 px small; the first ones are taken.
"""

import argparse
from collections import Counter
from pathlib import Path

from littledata.core import command
from littledata.core.errors import UserError
from littledata.photos import fetch, sources


def counts(words: list[str]) -> dict[str, int]:
    """How many photos of each class, from words such as cat=30 or all=30."""
    asked: dict[str, int] = {}
    for word in words:
        kind, _, count = word.partition("=")
        if kind not in (*sources.CIFAR10_CLASSES, "all") or not count.isdecimal():
            raise UserError(
                f"{word}: expected a class and a number, such as cat=30; there are {', '.join(sources.CIFAR10_CLASSES)}."
            )
        asked |= dict.fromkeys(sources.CIFAR10_CLASSES if kind == "all" else [kind], int(count))
    return asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the class folders go; it must not be there yet")
    parser.add_argument("photos", nargs="+", help="CLASS=NUMBER, or all=NUMBER")
    given = parser.parse_args()
    asked, taken = counts(given.photos), Counter()
    if given.folder.exists():
        raise UserError(f"{given.folder} is there already: name a new folder.")
    try:
        packed, _ = sources.cifar10_batches()
    except fetch.Unreachable as error:
        raise UserError(f"CIFAR-10 can't be reached: {error}.") from None
    for kind, name, data in sources.cifar10_photos(packed):
        if taken[kind] < asked.get(kind, 0):
            taken[kind] += 1
            path = given.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    print(f"{given.folder}: {', '.join(f'{count} {kind}' for kind, count in sorted(taken.items()))}")


if __name__ == "__main__":
    command.start(main)
