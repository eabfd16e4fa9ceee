"""Recipes: files of params that differ from params.yaml's, each with what it gives.

    make repro RECIPE=accurate
    dvc exp run $(python -m tools.recipe accurate)      # prints the recipe as words for DVC: -S image_size=288 ...

A recipe is recipes/<name>.yaml. It names the params that it changes, in the tree that params.yaml has.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from littledata.core import command, params
from littledata.core.errors import UserError

RECIPES = Path("recipes")


def changes(name: str | None) -> list[str]:
    """A recipe's params as `name=value`, as `-S` takes it; none for None.

    Raises
    ------
    UserError
        Where there is no such recipe, or a key or value in it is wrong.
    """
    if name is None:
        return []
    known = sorted(file.stem for file in RECIPES.glob("*.yaml"))
    if name not in known:
        raise UserError(f"There is no recipe {name}. There are {', '.join(known)}.")
    path = RECIPES / f"{name}.yaml"
    recipe = params.read(path)
    if not isinstance(recipe, Mapping):
        raise UserError(f"{path} names no params.")
    params.check(merged(params.load(), recipe), path)
    return [f"{key}={text(value)}" for key, value in params.leaves(recipe)]


def merged(tree: object, changed: object) -> object:
    """A tree of params with those in another one changed."""
    if not (isinstance(tree, Mapping) and isinstance(changed, Mapping)):
        return changed
    return {**tree, **{key: merged(tree.get(key), value) for key, value in changed.items()}}


def text(value: object) -> str:
    """A value as `-S` takes it, without spaces."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(text, value))}]"
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the recipe's: recipes/<name>.yaml")
    print(*(word for change in changes(parser.parse_args().name) for word in ("-S", change)))


if __name__ == "__main__":
    command.start(main)
