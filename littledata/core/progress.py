"""Progress for people: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tqdm import tqdm

from littledata.core import environment

SECONDS_BETWEEN_LINES = 20


class _Lines:
    """The part of tqdm's interface that is used here, for a log."""

    def __init__(self, total: int | None, label: str, unit: str) -> None:
        self.total, self.label, self.unit, self.n = total, label, unit, 0
        self.last = time.monotonic()

    def update(self, n: int) -> None:
        self.n += n
        if time.monotonic() - self.last > SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            self.print()

    def print(self) -> None:
        scale = 1e6 if self.unit == "MB" else 1
        amounts = [f"{amount / scale:.0f}" for amount in (self.n, *([self.total] if self.total else []))]
        print(f"{self.label}: {' of '.join(amounts)} {self.unit}", flush=True)


@contextmanager
def progress(total: int | None, label: str, unit: str = "photos") -> Iterator:
    """A bar or lines with an `update(n)`. The unit `MB` counts bytes."""
    if sys.stdout.isatty():
        scale = {"unit": "B", "unit_scale": True} if unit == "MB" else {"unit": f" {unit}"}
        with tqdm(total=total, desc=label, file=sys.stdout, **scale) as bar:
            yield bar
    else:
        lines = _Lines(total, label, unit)
        yield lines
        lines.print()


def each(function: Callable, items: Sequence, label: str = "photos") -> list:
    """What a function gives for each item, in order, computed by as many threads as a stage may use."""
    results = []
    with progress(len(items), label) as bar, ThreadPoolExecutor(environment.THREADS) as pool:
        for result in pool.map(function, items):
            results.append(result)
            bar.update(1)
    return results
