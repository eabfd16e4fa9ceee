"""`python -m studies.faults`: see the package."""

import argparse
import importlib
import json
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from littledata.core import command, tables
from studies import faults
from studies.faults import ground

GROUPS = ("kill", "disk", "damage", "together", "settings", "remote", "hostile", "repeat")
FAULTS = Path("studies/results/faults.json")
WORKERS = 2
ATTEMPTS = 5  # at a kind that has come too late so far


def table(groups: dict[str, dict]) -> str:
    every = [one for group in GROUPS if group in groups for one in groups[group]["faults"]]
    return tables.markdown(["fault", "tried", "survived"], [[one["fault"], one["tried"], one["survived"]] for one in every])


def missing(groups: dict[str, dict]) -> list[str]:
    """What was not survived or not tried, a line each."""
    every = [one for group in groups.values() for one in group["faults"]]
    lines = [f"not survived: {one['fault']}, {failure}" for one in every for failure in one["failures"]]
    return lines + [f"not tried: {one['fault']}: {one.get('not_tried', 'no time')}" for one in every if not one["tried"]]


def inflict(kinds: list[ground.Kind], places: list[ground.Place], end: float, seed: int) -> None:
    """Inflict faults until `end`, a time of `time.monotonic`, one of a kind at a time: each kind once, and then whichever has had
    the least time."""
    one_at_a_time = threading.Lock()

    def owed(one: ground.Kind) -> bool:
        return not one.tried and one.begun < ATTEMPTS

    def work(place: ground.Place) -> None:
        while True:
            with one_at_a_time:
                late = time.monotonic() > end
                free = [one for one in kinds if not (one.running or one.lacks) and (owed(one) or not late)]
                if not free:  # the other place has the last one
                    return
                one = min(free, key=lambda one: (not owed(one), owed(one) and one.begun, one.seconds))
                one.running = True
            place.inflict(one, random.Random(f"{seed} {one.name} {one.begun}"))

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(work, places))


def main() -> None:
    parser = argparse.ArgumentParser(description=faults.__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"some of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--minutes", type=float, default=17, help="faults begin for so long, each kind once at least; default: 17")
    parser.add_argument("--seed", type=int, default=1, help="of the places")
    parser.add_argument("--to", type=Path, default=FAULTS, help=f"the file to write; default: {FAULTS}. Other groups' results stay")
    parser.add_argument("--folder", type=Path, help="where to do it; an undisturbed run that is there is taken")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())))
        return
    if odd := set(options.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(odd))}: there are {', '.join(GROUPS)}")
    groups = options.groups or list(GROUPS)
    for group in groups:
        importlib.import_module(f"studies.faults.{group}")
    kinds, start = [one for one in ground.KINDS if one.group in groups], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults ") as temporary:
        base = options.folder or Path(temporary)
        base.mkdir(parents=True, exist_ok=True)
        print("the undisturbed run", flush=True)
        first = ground.First(base.absolute())
        places = [ground.Place(base.absolute() / f"place {number}", first) for number in range(WORKERS)]
        inflict(kinds, places, start + 60 * options.minutes, options.seed)
    tried = json.loads(options.to.read_text()) if options.to.exists() else {}
    for group in groups:
        of_group = [one for one in kinds if one.group == group]
        minutes = round(sum(one.seconds for one in of_group) / WORKERS / 60, 1)
        tried[group] = {"seed": options.seed, "minutes": minutes, "faults": [one.row() for one in of_group]}
    options.to.write_text(json.dumps(tried, indent=2) + "\n")
    print(f"\n{table({group: tried[group] for group in groups})}\n\n{(time.monotonic() - start) / 60:.0f} min in all")
    if lines := missing({group: tried[group] for group in groups}):
        sys.exit("\n".join(lines))


if __name__ == "__main__":
    command.start(main)
