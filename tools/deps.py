"""Write into the dvc.yaml files which code each stage depends on, by its imports. `make deps`

    python -m tools.deps

An import inside a function counts as well. Where a stage takes most modules of a room (a folder of the library), its deps name the room.
"""

import ast
from functools import cache
from io import StringIO
from itertools import accumulate
from pathlib import Path

from ruamel.yaml import YAML

from littledata.core import command, lockfile, params
from littledata.core.errors import UserError

LIBRARY = Path("littledata")
UNSEEN = {"__import__", "import_module", "run_module", "run_path"}  # what imports by a name that only a run knows


@cache
def imported(file: Path) -> frozenset[Path]:
    """Find the project's files that a file imports, and the packages above them: importing `a.b` runs `a/__init__.py`.

    Raises
    ------
    UserError
        For an import that can't be followed here, so that a stage would not run again where it should.
    """
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) or {getattr(node, "id", ""), getattr(node, "attr", "")} & UNSEEN:
            line = getattr(node, "lineno", 0)
            raise UserError(f"{file}, line {line}: write `from littledata.room import module`, which `make deps` can follow.")
    modules = [Path(*parts) for name in names for parts in accumulate(([part] for part in name.split(".")), list.__add__)]
    files = {file for module in modules for file in (module.with_suffix(".py"), module / "__init__.py")}
    return frozenset(file for file in files if file.is_file() and not file.is_absolute())


def needed(script: Path) -> set[Path]:
    """Find all of the project's files that a script imports, directly or through others."""
    reached, todo = set[Path](), [script]
    while todo:
        new = imported(todo.pop()) - reached
        reached |= new
        todo += new
    return reached


def runs(file: Path) -> bool:
    """Whether a file has more than a docstring, so that an edit can change what a stage does."""
    tree = ast.parse(file.read_text())
    return len(tree.body) > (ast.get_docstring(tree) is not None)


def code(script: Path) -> list[str]:
    """List what a stage's deps name of its code: the script, then rooms and modules. An `__init__.py` without code is none."""
    files = set(filter(runs, needed(script)))
    for room in {file.parent for file in files} - {LIBRARY}:
        modules = set(filter(runs, room.glob("*.py")))
        if 2 * len(files & modules) > len(modules):
            files = files - modules | {room}
    return [str(script), *sorted(map(str, files))]


def script_of(stage: dict) -> Path:
    """Find the script of a stage's command, `python -m stages.NAME`."""
    return Path(*stage["cmd"].split()[-1].split(".")).with_suffix(".py")


def rewritten(pipeline: Path) -> str:
    """Return the text of a dvc.yaml with its code deps as they are to be. Data among the deps stay as they are."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 4096, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    lockfile.load(pipeline.read_text(), str(pipeline))  # which says in a line where it is no YAML
    tree = yaml.load(pipeline)
    for stage in tree["stages"].values():
        data = [dep for dep in stage.get("deps", []) if Path(dep).parts[0] not in ("stages", LIBRARY.name)]
        stage["deps"][:] = data + code(script_of(stage))
    text = StringIO()
    yaml.dump(tree, text)
    return text.getvalue()


def main() -> None:
    for pipeline in params.PIPELINES:
        if pipeline.read_text() != (text := rewritten(pipeline)):
            pipeline.write_text(text)
            print(f"{pipeline}: deps are now what stages import")


if __name__ == "__main__":
    command.start(main)
