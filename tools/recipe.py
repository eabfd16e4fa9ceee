"""Recipes: files of params that differ from params.yaml's, each with what it gives.

    make repro RECIPE=accurate
    dvc exp run $(python -m tools.recipe accurate)      # prints the recipe as words for DVC: -S image_size=288 ...

A recipe is recipes/<name>.yaml. It names the params that it changes, in the tree that params.yaml has.
"""

import argparse
import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from littledata.core import command, params
from littledata.core.errors import UserError

RECIPES = Path("recipes")


def read(name: str) -> Mapping:
    """A recipe's tree of params, not checked; UserError where there is none of this name."""
    known = sorted(file.stem for file in RECIPES.glob("*.yaml"))
    if name not in known:
        raise UserError(f"There is no recipe {name}. There are {', '.join(known)}.")
    tree = params.read(RECIPES / f"{name}.yaml")
    if not isinstance(tree, Mapping):
        raise UserError(f"{RECIPES / name}.yaml names no params.")
    return tree


def merged(tree: Any, changed: Any) -> Any:
    """A tree of params with those in another one changed."""
    if not (isinstance(tree, Mapping) and isinstance(changed, Mapping)):
        return changed
    return {**tree, **{key: merged(tree.get(key), value) for key, value in changed.items()}}


def value(settings: Mapping, name: str) -> object:
    """A param by its dotted name; UserError where params.yaml has none."""
    try:
        return params.value(settings, name)
    except KeyError:
        raise UserError(f"{params.PARAMS} has no {name}.") from None


def with_values(settings: Mapping, values: Iterable[tuple[str, object]]) -> dict:
    """Settings with other values, each by its dotted name; UserError where there is none of that name."""
    tree: Any = copy.deepcopy(settings)
    for name, given in values:
        value(tree, name)
        parent, _, last = name.rpartition(".")
        (params.value(tree, parent) if parent else tree)[last] = given
    return tree


def changed_by(settings: Mapping, changes: Iterable[str]) -> dict:
    """Settings as `name=value` changes will have them, not checked. UserError where a name is none of theirs, or a value no YAML."""

    values: list[tuple[str, object]] = []
    for change in changes:
        name, _, text = change.partition("=")
        try:
            values.append((name, YAML(typ="safe", pure=True).load(text)))
        except YAMLError:
            raise UserError(f"{change}: expected {name}=VALUE, as params.yaml would have it.") from None
    return with_values(settings, values)


def asked(settings: Mapping, name: str | None, changes: Iterable[str]) -> dict:
    """Settings with a recipe's params, and with `name=value` changes on top; all of it is checked."""
    base: Mapping = merged(settings, read(name)) if name else settings
    tree = changed_by(base, changes)
    params.check(tree, Path(f"{params.PARAMS} with {RECIPES}/{name}.yaml") if name else params.PARAMS)
    return tree


def changes(name: str | None) -> list[str]:
    """A recipe's params as `name=value`, as `-S` takes it; none for None. UserError where a key or value in it is wrong."""
    if name is None:
        return []
    tree = read(name)
    params.check(merged(params.load().model_dump(), tree), RECIPES / f"{name}.yaml")
    return [f"{key}={words(value)}" for key, value in params.leaves(tree)]


def words(value: object) -> str:
    """A value as `-S` takes it, without spaces."""
    return json.dumps(value, separators=(",", ":")).replace('"', "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the recipe's: recipes/<name>.yaml")
    print(*(word for change in changes(parser.parse_args().name) for word in ("-S", change)))


if __name__ == "__main__":
    command.start(main)
