"""What a run will do with photos and how much room it needs, said before anything is computed."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from littledata.core.errors import UserError
from littledata.photos import fetch, listing
from littledata.splits import dataset, draw

SHOWN = 12  # classes
Sizes = tuple[int, ...]  # photos of each split, as `dataset.SPLITS` has them
KNOWN = {"kaggle": (0.6e9, [12_500] * 2), "microsoft": (0.9e9, [12_500] * 2), "cifar10": (0.5e9, [6_000] * 2)}  # bytes, photos


def classes(counts: Mapping[str, int]) -> str:
    """A line about the user's own classes, `counts` photos each."""
    each = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    if len(counts) > SHOWN:
        rarest, most = min(counts, key=counts.get), max(counts, key=counts.get)
        same = counts[rarest] == counts[most]
        each = f"{counts[most]} a class" if same else f"from {counts[rarest]} ({rarest}) to {counts[most]} ({most}) a class"
    return f"{len(counts)} classes, {sum(counts.values())} photos: {each}."


def subsample(counts: Mapping[str, int], splits: list[str], asked: Mapping, changes: Iterable[str]) -> dict:
    """The params of `subsample` as a run takes them of the user's own photos: as they are, or with shares, where they ask for numbers and
    a class has too few photos.

    Parameters
    ----------
    counts : mapping of str to int
        How many photos each class has.
    splits : list of str
        The splits that folders give, which are taken as they are.
    changes : iterable of str
        What the user asked to change, as `name=value`.

    Raises
    ------
    UserError
        Where it can't be done at all.
    """
    rarest, own = min(counts, key=counts.get), [change for change in changes if change.startswith("subsample.")]
    if draw.kept(splits, asked):
        return dict(asked)
    taken = {**asked, **met(asked, counts[rarest])}
    if own and taken != asked:
        raise UserError(
            f"{' '.join(own)} can't be met: the class {rarest} has {counts[rarest]} photos. Ask for fewer, or for shares."
        )
    if not all(draw.counts(taken, counts[rarest]).values()):
        raise UserError(f"The class {rarest} has {counts[rarest]} photos: each class needs three or more, one for every split.")
    return taken


def met(asked: Mapping, fewest: int) -> Mapping:
    """The sizes of splits that are asked for, or shares, where they are numbers and a class has but so few photos."""
    enough = draw.shares(asked) or sum(draw.counts(asked).values()) <= fewest
    return asked if enough else draw.SHARES


def words(sizes: Mapping) -> str:
    """Sizes of splits as the changes of params that they are."""
    return " ".join(f"subsample.{split}={size}" for split, size in sizes.items())


def draws(counts: Mapping[str, int], asked: Mapping, taken: Mapping) -> str:
    """Lines about how many photos are drawn by the params of `subsample` that are taken, in place of those that were asked for."""
    rarest = min(counts, key=counts.get)
    few = "" if taken == asked else "params.yaml asks for more photos of each than there are: a run takes shares.\n"
    of_split = ", ".join(f"{count} {split}" for count, split in zip(drawn(taken, counts.values()), dataset.SPLITS))
    tested = draw.counts(taken, counts[rarest])["test"]
    return f"{few}Drawn from them: {of_split}; the rarest class, {rarest}, has {tested} of the test photos."


def drawn(sizes: Mapping, counts: Iterable[int]) -> Sizes:
    """How many training, validation and test photos are drawn from classes with so many photos each."""
    taken = [draw.counts(sizes, count) for count in counts]
    return tuple(sum(of_class[split] for of_class in taken) for split in dataset.SPLITS)


def split(photos: listing.Listing, params: Mapping) -> Sizes:
    """How many training, validation and test photos a run takes of the user's own. Of splits that folders give, all."""
    if not (splits := draw.kept(photos.splits(), params)):
        return drawn(params, photos.counts().values())
    sizes = [draw.given(of_class, splits, params) for of_class in photos.numbers.values()]
    return tuple(sum(of_class[split] for of_class in sizes) for split in dataset.SPLITS)


def bytes_kept(photos: listing.Listing, settings: Mapping, sizes: Sizes) -> float:
    """The size of the photos that come here: all of a folder or zip, and those that are drawn from a list, by their mean size."""
    whole = photos.source != "bucket" or photos.splits() or settings["subsample"]["remaining"]
    return photos.size * (1 if whole else sum(sizes) / sum(photos.counts().values()))


def views_needed(settings: Mapping, sizes: Sizes) -> int:
    """How many views the frozen layers compute of so many photos."""
    train, validation, test = sizes
    return train * settings["activations"]["views"] + (validation + test) * settings["activations"]["crops"]


def space_needed(settings: Mapping, archive_bytes: float, sizes: Sizes) -> int:
    """Bytes of a cold run: archive (downloaded and kept), photos, activations (in the memo as well), features."""
    size, block = settings["image_size"], 5 - len(settings["finetune"]["unfreeze"])
    values = 2 * (size >> block) ** 2 * min(512, 32 << block) + (size >> 5) ** 2 * 512
    return int(2 * archive_bytes + 0.5e9 + views_needed(settings, sizes) * values * 2)


def check_space(settings: Mapping, archive_bytes: float, sizes: Sizes) -> None:
    """Raise UserError unless the disk has room for a run, less what earlier ones left here. DVC's cache and data/ share theirs, by
    links, on most disks."""
    left = [path for top in (".dvc/cache", ".cache") for path in Path(top).rglob("*") if path.is_file()]
    fetch.check_space(Path(), space_needed(settings, archive_bytes, sizes) - sum(path.stat().st_size for path in left))
