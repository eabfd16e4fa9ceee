"""Write into the dvc.yaml files which code each stage depends on, by its imports. `make deps`

    python -m tools.deps            # writes them
    python -m tools.deps --check    # exits with status 1 where they differ

Imports inside functions count as well. Where a stage takes most modules of a room (a folder of the library), its deps name the room.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

from littledata.core import command, params

LIBRARY = Path("littledata")


def path_of(module: str) -> Path | None:
    """The file of one of the library's modules."""
    path = Path(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def imported(file: Path) -> frozenset[Path]:
    """The library's files that a file imports, those above them included: importing `a.b` runs `a/__init__.py`."""
    return frozenset(path for name in _names(file) if name.split(".")[0] == LIBRARY.name and (path := path_of(name)))


def _names(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def needed(script: Path) -> set[Path]:
    """All files of the library that a script imports, directly or through others."""
    found, todo = set(), [script]
    while todo:
        new = imported(todo.pop()) - found
        found |= new
        todo += new
    return found


def code(script: Path) -> list[str]:
    """What a stage's deps name of its code: the script, then rooms and modules."""
    files = needed(script)
    rooms = {file.parent for file in files} - {LIBRARY}
    named = {file for file in files if file.parent == LIBRARY and file.stat().st_size}
    for room in rooms:
        there, taken = (
            {file for file in some if file.parent == room and file.stat().st_size} for some in (room.glob("*.py"), files)
        )
        named |= {room} if 2 * len(taken) > len(there) else taken
    return [str(script), *sorted(map(str, named))]


def rewritten(pipeline: Path) -> str:
    """The text of a dvc.yaml with the deps as they are to be."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(pipeline)
    for stage in tree["stages"].values():
        script = Path(*stage["cmd"].split()[-1].split(".")).with_suffix(".py")
        data = [dep for dep in stage.get("deps", []) if Path(dep).parts[0] not in ("stages", LIBRARY.name)]
        stage["deps"][:] = data + code(script)
    text = StringIO()
    yaml.dump(tree, text)
    return text.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit with status 1 where deps differ")
    check = parser.parse_args().check
    stale = [pipeline for pipeline in params.PIPELINES if pipeline.read_text() != rewritten(pipeline)]
    if check and stale:
        sys.exit(f"{', '.join(map(str, stale))}: deps are not what stages import: `make deps` writes them.")
    for pipeline in stale:
        pipeline.write_text(rewritten(pipeline))


if __name__ == "__main__":
    command.start(main)
