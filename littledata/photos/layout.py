"""Which class a photo is of, and which split where its folders say so: by the paths of all photos of a folder or an archive.

Known are class folders (`cats/1.jpg`), with folders of their own below, below any number of levels that hold but one folder;
splits above them (`train/cats/1.jpg`), below (`cats/train/1.jpg`) or beside (`train_cats/1.jpg`); and Kaggle's `train/cat.0.jpg`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from littledata.core.errors import UserError
from littledata.photos import names

Folders = tuple[str, ...]  # from the top down
SPLIT_WORDS = {"train": "train(?:ing)?|trn", "validation": "val|valid|validation|validate|dev|development|eval|evaluation",
               "test": r"tests?|testing|tst|hold[\W_]?out"}  # fmt: skip
_AROUND = r"(?:data|datasets?|sets?|splits?|seg|images?|imgs?|photos?|pictures?|pics|folder|raw|[\W\d_])*+"  # says nothing
_WORDS = "|".join(f"(?P<{split}>{words})" for split, words in SPLIT_WORDS.items())
_SPLIT = re.compile(f"{_AROUND}(?:{_WORDS}){_AROUND}", re.I)
_WRAPPER = re.compile(rf"(?=.*[a-z]){_AROUND}", re.I)
_BESIDE = re.compile(
    r"(?:samples?|examples?|demos?|previews?|thumbnails?|screenshots?|docs?|assets|unlabell?ed|unsorted)[\W\d_]*", re.I
)


@dataclass
class Folder:
    """A folder with photos in it or below it."""

    path: Folders = ()
    below: dict[str, "Folder"] = field(default_factory=dict)

    def __str__(self) -> str:
        return "/".join(self.path)


@dataclass(frozen=True)
class Layout:
    """The class folders, each with its class and its split or None; and what people should know of how they were found."""

    classes: dict[Folders, tuple[str, str | None]]
    notes: list[str] = field(default_factory=list)

    def place(self, name: str) -> tuple[str, str | None] | None:
        """The class and the split of a photo, by its path; None for one outside class folders."""
        folders = tuple(name.split("/")[:-1])
        return next((self.classes[folders[:n]] for n in range(len(folders) + 1) if folders[:n] in self.classes), None)


class ByName(Layout):
    """Kaggle's layout: the class is what a file's name begins with, up to a dot."""

    def place(self, name: str) -> tuple[str, None]:
        return name.split("/")[-1].split(".")[0], None


def split_of(folder: str) -> str | None:
    """The split that a folder's name speaks of, if any: train, training_set, Val, test1, seg_train, hold-out, ..."""
    found = _SPLIT.fullmatch(folder)
    return found.lastgroup if found else None


def find(paths: Iterable[str]) -> Layout:
    """The layout of a folder of class folders, by its photos' paths in it, with `/`.

    Raises
    ------
    UserError
        Where splits don't have the same classes, or it is not clear what the classes are: with what to do.
    """
    top, notes = _inside(_tree(paths))
    splits = {name: split_of(name) for name in top.below}
    if parted := _parted({name: split for name, split in splits.items() if top.below[name].below}, top):
        return _splits_above(top, parted, notes)
    if len(set(splits.values()) - {None}) > 1 and None not in splits.values():
        raise UserError(
            f"the folders {names.some(top.below)} are splits by their names, and hold photos without class folders: "
            f"expected {next(iter(top.below))}/<class>/<photo>.jpg."
        )
    below = {name: _parted({sub: split_of(sub) for sub in folder.below}, folder) for name, folder in top.below.items()}
    if any(below.values()):
        return _splits_below(top, below, notes)
    joined = {name: _joined(name) for name in top.below}
    if all(joined.values()) and _parted({name: split for name, (_, split) in joined.items()}, top):
        return _splits_beside(top, joined, notes)
    notes += [f"{name} is taken as a class: move it out if it is none." for name in top.below if _BESIDE.fullmatch(name)]
    return Layout({folder.path: (name, None) for name, folder in top.below.items()}, notes)


def _tree(paths: Iterable[str]) -> Folder:
    top = Folder()
    for path in paths:
        folder = top
        for name in path.split("/")[:-1]:
            folder = folder.below.setdefault(name, Folder((*folder.path, name)))
    return top


def _inside(folder: Folder) -> tuple[Folder, list[str]]:
    """The folder that holds the class folders, past levels that hold one folder of folders and nothing else, or only what
    people put beside such a one; and what is to say where that is not sure. UserError where both ways are as likely."""
    while True:
        deep = [name for name, sub in folder.below.items() if sub.below]
        others = [name for name in folder.below if name not in deep]
        if len(deep) != 1:
            return folder, _twice(folder, deep) if not others else []
        inner = folder.below[deep[0]]
        split = split_of(deep[0])
        if not all(_BESIDE.fullmatch(name) or (split and split_of(name)) for name in others):
            if (split and len(inner.below) > 1) or _WRAPPER.fullmatch(deep[0]):
                raise UserError(
                    f"the folder {inner} holds the folders {names.some(inner.below)}, and {names.some(others)} lies beside it: if "
                    f"the classes are {names.some(inner.below)}, name {inner}; if {deep[0]} is a class itself, rename it."
                )
            if len(others) > 1 or len(inner.below) == 1:
                return folder, []
            return folder, [f"Classes are {deep[0]} and {others[0]}. If they are {names.some(inner.below)}: name {inner}."]
        folder = inner


def _twice(folder: Folder, deep: list[str]) -> list[str]:
    """What is to say where all folders hold folders of the same names, which may be the classes; UserError where the folders
    above don't sound like classes."""
    same = {frozenset(folder.below[name].below) for name in deep}
    if len(deep) < 2 or len(same) > 1 or len(*same) < 2 or any(split_of(name) for name in (*deep, *folder.below[deep[0]].below)):
        return []
    lower = f"the folders {names.some(deep)} all hold the folders {names.some(folder.below[deep[0]].below)}"
    if all(_WRAPPER.fullmatch(name) for name in deep):
        raise UserError(f"{lower}: if these are the classes, name one of the former, or put all into one.")
    return [f"Classes are {names.some(deep)}, though {lower}. If these are the classes: name one of the former."]


def _parted(splits: dict[str, str | None], folder: Folder) -> dict[str, str]:
    """The folders that are given splits, each with its split: there are several, and one trains."""
    parted = {name: split for name, split in splits.items() if split}
    if len(set(parted.values())) < 2:
        return {}
    if "train" in parted.values():
        return parted
    if all(folder.below[name].below for name in parted):
        raise UserError(f"the folders {names.some(parted)} are splits by their names, and none of them is for training.")
    return {}


def _splits_above(top: Folder, parted: dict[str, str], notes: list[str]) -> Layout:
    found = []
    for name, split in parted.items():
        inner, more = _inside(top.below[name])
        notes += more
        found += [(folder.path, kind, split, name) for kind, folder in inner.below.items()]
    return _with_splits(found, notes, {split: name for name, split in parted.items()})


def _splits_below(top: Folder, below: dict[str, dict[str, str]], notes: list[str]) -> Layout:
    if without := [kind for kind, parted in below.items() if not parted]:
        kind, parted = next((kind, parted) for kind, parted in below.items() if parted)
        raise UserError(
            f"the folder {kind} is parted into {names.some(parted)}, and {names.some(without)} not: part all classes, or none."
        )
    check_same({kind: set(parted.values()) for kind, parted in below.items()}, {kind: kind for kind in below}, "the splits")
    paths = ((top.below[kind].below[name].path, kind, split, name) for kind in below for name, split in below[kind].items())
    return _with_splits(list(paths), notes, {})


def _joined(folder: str) -> tuple[str, str] | None:
    """The class and the split of a folder's name that has both: train_cats, cats-test."""
    for pattern in (r"(?P<kind>.+)[\W_](?P<word>[^\W_]+)", r"(?P<word>[^\W_]+)[\W_](?P<kind>.+)"):
        if (found := re.fullmatch(pattern, folder)) and (split := split_of(found["word"])):
            return found["kind"], split
    return None


def _splits_beside(top: Folder, joined: dict[str, tuple[str, str]], notes: list[str]) -> Layout:
    found = [(top.below[name].path, kind, split, name) for name, (kind, split) in joined.items()]
    return _with_splits(found, notes, {split: split for _, split in joined.values()})


def _with_splits(found: list[tuple[Folders, str, str, str]], notes: list[str], folders: dict[str, str]) -> Layout:
    """The layout of class folders, each given as its path, class, split and the name that says the split; `folders` has what to call
    each split where they don't have the same classes."""
    kinds: dict[str, set[str]] = {}
    for _, kind, split, _ in found:
        kinds.setdefault(split, set()).add(kind)
    check_same(kinds, folders, "the classes")
    used = two_or_three(kinds)
    classes = {path: (kind, used[split]) for path, kind, split, _ in found}
    return Layout(classes, notes + [how({name: split for _, _, split, name in found})])


def two_or_three(given: Iterable[str]) -> dict[str, str]:
    """What given splits are used as: of two the one beside train is the test split, whatever it is called."""
    given = set(given)
    return {split: split if len(given) == 3 or split == "train" else "test" for split in given}


def how(parted: dict[str, str], whose: str = "folders") -> str:
    """A line about splits that are given, each by its name."""
    used = two_or_three(parted.values())
    folders = ", ".join(name if name == used[split] else f"{name} as {used[split]}" for name, split in parted.items())
    drawn = "" if len(used) == 3 else "; validation photos are drawn from train"
    return f"Splits are those of the {whose}: {folders}{drawn}."


def check_same(found: dict[str, set[str]], folders: dict[str, str], what: str) -> None:
    """Raise UserError unless all have the same: `found` by a key each, `folders` the name to call each by."""
    every = set().union(*found.values())
    for key, own in found.items():
        if missing := sorted(every - own):
            having = next(other for other in found if missing[0] in found[other])
            raise UserError(
                f"{folders[having]} and {folders[key]} don't have {what} in common: {folders[key]} has {names.some(sorted(own))} "
                f"and lacks {names.some(missing)}. Name folders alike, or move out what doesn't belong."
            )
