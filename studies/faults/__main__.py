"""`python -m studies.faults`: see the package."""

import argparse
import importlib
import json
import tempfile
import time
from pathlib import Path

from littledata.core import command, tables
from studies import faults
from studies.faults import ground

GROUPS = {"kill": 8, "disk": 2, "damage": 3, "together": 2, "settings": 4, "remote": 2, "hostile": 6, "repeat": 3}  # shares of time
FAULTS = Path("studies/results/faults.json")


def table(groups: dict[str, dict]) -> str:
    every = [one for group in GROUPS if group in groups for one in groups[group]["faults"] if one["tried"]]
    rows = [[one["fault"], one["tried"], one["survived"]] for one in every]
    return tables.markdown(["fault", "tried", "survived"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=faults.__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"some of {', '.join(GROUPS)}; default: all")
    parser.add_argument(
        "--minutes", type=float, default=17, help="so many faults are tried as fit; the last ones take some more; default: 17"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the places")
    parser.add_argument("--to", type=Path, default=FAULTS, help=f"the file to write; default: {FAULTS}. Other groups' results stay")
    parser.add_argument("--folder", type=Path, help="where to do it, and to leave what it made; a run that is there is taken")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print what this file holds, and run nothing")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())))
        return
    if odd := set(options.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(odd))}: there are {', '.join(GROUPS)}")
    groups = options.groups or list(GROUPS)
    end = time.monotonic() + 60 * options.minutes
    found = json.loads(options.to.read_text()) if options.to.exists() else {}
    with tempfile.TemporaryDirectory(prefix="faults ") as temporary:
        folder = options.folder or Path(temporary)
        print("the undisturbed run", flush=True)
        first, seconds = ground.make(folder / "ground")
        grounds = [first, ground.twin(first, folder / "other")]
        for number, group in enumerate(groups):
            print(group, flush=True)
            start = time.monotonic()
            until = start + (end - start) * GROUPS[group] / sum(GROUPS[later] for later in groups[number:])
            tried = importlib.import_module(f"studies.faults.{group}").run(grounds, seconds, until, options.seed)
            minutes = round((time.monotonic() - start) / 60, 1)
            rows = [{"fault": one.name, "tried": one.tried, "survived": one.survived, "failures": one.failures} for one in tried]
            found[group] = {"seed": options.seed, "minutes": minutes, "faults": rows}
            options.to.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\n{table(found)}\n\n{sum(group['minutes'] for group in found.values()):.0f} min in all")


if __name__ == "__main__":
    command.start(main)
