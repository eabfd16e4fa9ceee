"""`python -m studies.faults`: see the package."""

import argparse
import importlib
import json
import tempfile
import time
from pathlib import Path

from stages.core import tables
from studies import faults
from studies.faults import ground
from tools import command

GROUPS = ("kill", "disk", "damage", "together", "settings", "remote", "hostile", "repeat")
FAULTS = Path("metrics/faults.json")


def table(found: list[dict]) -> str:
    return tables.markdown(["fault", "tried", "survived"], [[one["fault"], one["tried"], one["survived"]] for one in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=faults.__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"some of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--points", type=int, default=3, help="how often each fault is tried in each place; default: 3")
    parser.add_argument("--seed", type=int, default=1, help="of the places")
    parser.add_argument("--to", type=Path, default=FAULTS, help=f"the file to write; default: {FAULTS}")
    parser.add_argument("--folder", type=Path, help="where to do it, and to leave what it made; a run that is there is taken")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())["faults"]))
        return
    if odd := set(options.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(odd))}: there are {', '.join(GROUPS)}")
    start, found = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="faults ") as temporary:
        folder = options.folder or Path(temporary)
        print("the undisturbed run", flush=True)
        first, seconds = ground.make(folder / "ground")
        print(", ".join(f"{stage} {took:.0f} s" for stage, took in seconds.items()), flush=True)
        grounds = [first, ground.twin(first, folder / "other")]
        for group in options.groups or GROUPS:
            print(f"{group}: {(time.monotonic() - start) / 60:.1f} min so far", flush=True)
            for fault in importlib.import_module(f"studies.faults.{group}").run(grounds, seconds, options.points, options.seed):
                found.append({"fault": fault.name, "tried": fault.tried, "survived": fault.survived, "failures": fault.failures})
    options.to.write_text(json.dumps({"seed": options.seed, "points": options.points, "faults": found}, indent=2) + "\n")
    print(f"\n{table(found)}\n\n{(time.monotonic() - start) / 60:.0f} min")


if __name__ == "__main__":
    command.start(main)
