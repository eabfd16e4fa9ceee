"""What a run will do and take, said before anything is computed."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from littledata.core.errors import UserError
from littledata.photos.listing import Listing
from littledata.splits import dataset, draw

SHOWN = 12  # classes
Sizes = tuple[int, ...]  # photos of each split, as `dataset.SPLITS` has them
KNOWN = {"kaggle": (0.6e9, [12_500] * 2), "microsoft": (0.9e9, [12_500] * 2), "cifar10": (0.5e9, [6_000] * 2)}  # bytes, photos


def own_photos(found: Listing, sizes: dict, changes: list[str]) -> list[str]:
    """Say what a run will do with the user's own photos. Returns changes of params where the numbers in them can't be met.

    Parameters
    ----------
    found : Listing
        The user's folder, zip or list.
    sizes : dict
        The params of `subsample`, as the run would have them.
    changes : list of str
        What the user asked to change, as `name=value`.

    Raises
    ------
    UserError
        Where it can't be done at all.
    """
    found.check()
    counts = found.counts()
    rarest, most = min(counts, key=counts.get), max(counts, key=counts.get)
    each = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    if len(counts) > SHOWN and counts[rarest] == counts[most]:
        each = f"{counts[most]} a class"
    elif len(counts) > SHOWN:
        each = f"from {counts[rarest]} ({rarest}) to {counts[most]} ({most}) a class"
    print(*found.lines(), f"{len(counts)} classes, {sum(counts.values())} photos: {each}.", sep="\n")
    if draw.kept(found.splits(), sizes):
        return []
    asked, sizes = sizes, met(sizes, counts[rarest])
    if sizes is not asked:
        if own := [change for change in changes if change.startswith("subsample.")]:
            raise UserError(
                f"{' '.join(own)} can't be met: the class {rarest} has {counts[rarest]} photos. Ask for fewer, or for shares."
            )
        wanted = sum(draw.counts(asked).values())
        print(f"params.yaml asks for {wanted} photos of each, more than there are: a run takes shares.")
    taken = {kind: draw.counts(sizes, count) for kind, count in counts.items()}
    if not all(taken[rarest].values()):
        raise UserError(f"The class {rarest} has {counts[rarest]} photos: each class needs three or more, one for every split.")
    split_sizes = (f"{sum(of_class[split] for of_class in taken.values())} {split}" for split in dataset.SPLITS)
    rare = f"the rarest class, {rarest}, has {taken[rarest]['test']} of the test photos"
    print(f"Drawn from them: {', '.join(split_sizes)}; {rare}.", flush=True)
    return [] if sizes is asked else words(sizes).split()


def met(sizes: Mapping, fewest: int) -> Mapping:
    """The sizes of splits that a run takes: those that are asked for, or shares, where numbers are asked for and a class has too
    few photos for them."""
    enough = draw.shares(sizes) or sum(draw.counts(sizes).values()) <= fewest
    return sizes if enough else draw.SHARES


def words(sizes: Mapping) -> str:
    """Sizes of splits as the changes of params that they are."""
    return " ".join(f"subsample.{split}={size}" for split, size in sizes.items())


def drawn(params: Mapping, counts: Iterable[int]) -> Sizes:
    """How many training, validation and test photos the params of `subsample` draw from classes with so many photos each."""
    taken = [draw.counts(params, count) for count in counts]
    return tuple(sum(of_class[split] for of_class in taken) for split in dataset.SPLITS)


def split(found: Listing, params: Mapping) -> Sizes:
    """How many training, validation and test photos a run takes of the user's own. Folders' splits are taken as they are; so are
    a list's."""
    splits = draw.kept(found.splits(), params)
    if not splits:
        return drawn(params, found.counts().values())
    sizes = [draw.given(of_split, splits, params) for of_split in found.numbers.values()]
    return tuple(sum(of[name] for of in sizes) for name in dataset.SPLITS)


def views_needed(settings: Mapping, sizes: Sizes) -> int:
    """How many views the frozen layers compute of so many photos."""
    train, validation, test = sizes
    return train * settings["activations"]["views"] + (validation + test) * settings["activations"]["crops"]


def space_needed(settings: Mapping, archive_bytes: float, sizes: Sizes) -> int:
    """Bytes of a cold run: archive (downloaded and kept), photos, activations (in the memo as well), features."""
    size, block = settings["image_size"], 5 - len(settings["finetune"]["unfreeze"])
    values = 2 * (size >> block) ** 2 * min(512, 32 << block) + (size >> 5) ** 2 * 512
    return int(2 * archive_bytes + 0.5e9 + views_needed(settings, sizes) * values * 2)


def bytes_kept(found: Listing, settings: Mapping) -> float:
    """The size of the photos that come here: all of a folder or zip, and those that are drawn from a list, by their mean size."""
    everything = found.source != "bucket" or found.splits() or settings["subsample"]["rest"]
    return found.size() * (1 if everything else sum(split(found, settings["subsample"])) / sum(found.counts().values()))


def space_taken() -> int:
    """Bytes that earlier runs left here. DVC's cache and data/ share theirs, by links, on most disks."""
    return sum(path.stat().st_size for top in (".dvc/cache", ".cache") for path in Path(top).rglob("*") if path.is_file())
