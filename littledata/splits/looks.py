"""A first look at photos before any is drawn: which can't be used, how large and how bright they are, what they look like."""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from littledata.core.progress import each
from littledata.photos import archive
from littledata.photos.listing import Listing
from littledata.photos.photo import Photo
from littledata.pictures import deep, images
from littledata.splits import duplicates


@dataclass(frozen=True)
class Look:
    """What is known of a photo; `photo.problem` says why it can't be used."""

    photo: Photo
    side: int = 0  # the shorter one, px
    spread: int = 0  # levels of 255, from the darkest to the brightest of nearly all its pixels
    extent: deep.Extent | None = None  # of a picture of more than 8 bits
    sha256: str = ""
    bits: np.uint64 = np.uint64(0)
    thumbnail: np.ndarray | None = None


def at_one(photo: Photo, listing: Listing, depth: deep.Depth = deep.UNKNOWN) -> Look:
    try:
        data = listing.read(photo)
        image = images.decode(data, images.LOOK, depth)
        side, extent = min(images.sides(data)), images.extent(data)
    except (archive.Unreadable, images.UnreadablePhoto) as error:
        return Look(photo._replace(problem=str(error)))
    return Look(photo, side, spread(image), extent, hashlib.sha256(data).hexdigest(), *duplicates.looks(image))


def at_all(listing: Listing) -> tuple[list[Look], deep.Depth]:
    """A look at each photo of a folder or a zip, and what is black and white in those of more than 8 bits.

    Those are looked at twice: how bright a picture is only all of them together say.
    """
    looks = each(lambda photo: at_one(photo, listing), list(listing.photos))
    depth = deep.depth_of(look.extent for look in looks)
    numbers = [number for number, look in enumerate(looks) if look.extent]
    again = each(lambda number: at_one(looks[number].photo, listing, depth), numbers, "of more than 8 bits") if numbers else []
    for number, look in zip(numbers, again):
        looks[number] = look
    return looks, depth


def spread(image: Image.Image) -> int:
    """How many levels of 255 lie between the 1 % darkest and the 1 % brightest values of a picture, in the channel in which there
    are most."""
    darkest, brightest = np.percentile(np.asarray(image).reshape(-1, 3), (1, 99), axis=0, method="nearest")
    return int((brightest - darkest).max())
