"""Nested mappings, such as params."""

from collections.abc import Iterator, Mapping


def leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The (dotted name, value) of everything in a tree that is no mapping itself."""
    for key, value in tree.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
