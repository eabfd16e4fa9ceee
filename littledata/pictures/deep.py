"""Pictures of more than 8 bits a sample: their numbers, and which of them are black and white.

A file of 16 bits doesn't say whether its numbers end at 1023, 4095 or 65535, nor one of floats whether they end at 1 or 255.
Its own greatest number must not decide: then a dark picture would be as bright as any other. So the range is found once, from
the training photos, and used for every picture that is like them.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from littledata.core import files

DEPTH = Path("data/depth.json")
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF's tags
# libtiff gives numbers in this machine's order, which Pillow forgets for some of them.
NUMBERS = ("I;16", "S"), ("I;32", "S"), ("F;32", "F")
NATIVE = {f"{kind}{order}{sign}": f"{kind}N{sign}" for kind, sign in NUMBERS for order in ("", "B")}
WHITE_IS_ZERO, UNSIGNED, SIGNED = 0, 1, 2


@dataclass(frozen=True)
class Depth:
    """What is black and what is white in pictures of more than 8 bits: (lowest, highest) of whole numbers and of floats, None
    where no photo of the set has such."""

    integer: tuple[float, float] | None = None
    floats: tuple[float, float] | None = None

    def about(self) -> dict[str, tuple[float, float] | None]:
        """As JSON has it."""
        return {"integer": self.integer, "float": self.floats}


UNKNOWN = Depth()


def of_json(about: Mapping | None) -> Depth:
    """What `Depth.about` gave; nothing for None, from a file that is older."""
    ends = [(about or {}).get(name) for name in ("integer", "float")]
    return Depth(*(tuple(pair) if pair else None for pair in ends))


def read(path: Path = DEPTH) -> Depth:
    """The range that `subsample` found in the training photos."""
    return of_json(json.loads(path.read_text()))


def write(depth: Depth, path: Path = DEPTH) -> None:
    with files.whole(path) as file:
        file.write(json.dumps(depth.about()).encode() + b"\n")


@dataclass(frozen=True)
class Extent:
    """The lowest and the highest number in a picture; `whole` if they aren't floats."""

    whole: bool
    low: float
    high: float


def depth_of(extents: Iterable[Extent | None]) -> Depth:
    """The range of a set of pictures; None stands for one of 8 bits.

    Whole numbers go from 0 to all bits set that the highest one has: 4095 where it is 3071. Floats go from 0 to 1 where all lie
    there. Else, and where some numbers are negative, what was found is the range.
    """
    extents = [extent for extent in extents if extent]
    return Depth(*(_range([extent for extent in extents if extent.whole is whole], whole) for whole in (True, False)))


def _range(extents: list[Extent], whole: bool) -> tuple[float, float] | None:
    if not extents:
        return None
    low, high = min(extent.low for extent in extents), max(extent.high for extent in extents)
    if low < 0 or (high > 1 and not whole):
        return low, high
    return 0, 2 ** max(1, int(high).bit_length()) - 1 if whole else 1


@dataclass(frozen=True)
class Numbers:
    """A picture's numbers as its file has them.

    array : whole numbers or floats of shape (height, width) or, red, green and blue, (height, width, 3)
    full : the range of the container, for pictures of which no other one is known
    alpha : float32 of shape (height, width), 0 to 1, of a picture with transparency
    premultiplied : whether the colours have been multiplied by it
    inverted : whether the lowest number is white
    """

    array: np.ndarray
    full: tuple[float, float]
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    inverted: bool = False

    def extent(self) -> Extent | None:
        """The lowest and the highest number; None where there is none, only NaN and infinity."""
        whole = self.array.dtype.kind in "iu"
        finite = self.array if whole else self.array[np.isfinite(self.array)]
        return Extent(whole, finite.min().item(), finite.max().item()) if finite.size else None

    def picture(self, depth: Depth) -> Image.Image:
        """The picture in 8 bits, RGB, over white where it is transparent."""
        low, high = (depth.integer if self.array.dtype.kind in "iu" else depth.floats) or self.full
        table = self.array.dtype == np.uint16  # which takes a tenth of the memory
        pixels = _scaled(np.arange(2**16), low, high)[self.array] if table else _scaled(self.array, low, high)
        if self.inverted:
            pixels = 255 - pixels
        if self.alpha is not None:
            alpha = self.alpha if pixels.ndim == 2 else self.alpha[..., None]
            over = pixels * (1 if self.premultiplied else alpha) + 255 * (1 - alpha)
            pixels = np.rint(np.clip(over, 0, 255)).astype(np.uint8)
        return Image.fromarray(pixels).convert("RGB")


def _scaled(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 from 0 for `low` to 255 for `high`; what lies outside, NaN too, becomes the one or the other."""
    share = (array.astype(np.dtype("f8" if array.dtype.itemsize > 2 else "f4")) - low) / ((high - low) or 1)
    return np.rint(255 * np.clip(np.nan_to_num(share, nan=0, posinf=1, neginf=0), 0, 1)).astype(np.uint8)


def numbers(image: ImageFile.ImageFile, again: Callable[[], ImageFile.ImageFile]) -> Numbers | None:
    """The numbers of a picture of more than 8 bits a sample, None for any other.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Opened, not loaded.
    again : function
        Opens the same file once more: Pillow reads one half of each number at a time where there are several channels.
    """
    tags = getattr(image, "tag_v2", {})
    bits, kind = max(tags.get(BITS, (0,))), max(tags.get(SAMPLE_FORMAT, (UNSIGNED,)))
    inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    mode = image.mode
    if image.tile and image.tile[0].codec_name == "libtiff" and (native := NATIVE.get(_raw_mode(image))):
        _lay_out(image, native)
    if mode == "F":
        return Numbers(_loaded(image), (0.0, 1.0), inverted=inverted)
    if mode == "I":
        array = _loaded(image).astype(np.int32)
        if kind == UNSIGNED and bits == 32:  # Pillow has no such mode, and makes the upper half negative
            array = array.view(np.uint32)
        sign = kind == SIGNED
        return Numbers(array, (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if sign else (0, 2 ** (bits or 16) - 1), inverted=inverted)
    if mode.startswith("I;16"):
        array, clear = _loaded(image).astype(np.uint16), image.info.get("transparency")
        alpha = None if clear is None else (array != clear).astype(np.float32)
        return Numbers(array, (0, 2 ** (bits or 16) - 1), alpha, inverted=inverted)
    if mode == "L" and kind == SIGNED:
        return Numbers(_loaded(image).view(np.int8), (-128, 127))
    return _channels(image, again) if _raw_mode(image)[-3:] in ("16B", "16L", "16N") and mode != "CMYK" else None


def bytes_a_pixel(image: ImageFile.ImageFile) -> int:
    """What a pixel of an opened picture takes as its file has it, or as the RGB that is made of it, with its transparency."""
    deeper = 4 if image.mode in ("I", "F") else 2 if image.mode.startswith("I;16") or "16" in _raw_mode(image) else 1
    clear = "A" in image.mode.upper() or "transparency" in image.info
    return max(deeper * len(image.getbands()), 3 + clear)


def _loaded(image: Image.Image) -> np.ndarray:
    image.load()
    return np.array(image)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How Pillow says that a PNG's or TIFF's numbers are laid out, such as "RGB;16B"; "" for other formats, and other ways."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return ""
    args = image.tile[0].args
    return (args if isinstance(args, str) else args[0]) or ""


def _channels(image: ImageFile.ImageFile, again: Callable[[], ImageFile.ImageFile]) -> Numbers:
    """16 bits a channel in several channels, which Pillow can't hold: it keeps the upper byte of each."""
    full, raw = (0, 2**16 - 1), _raw_mode(image)
    if raw == "LA;16B":  # four bytes a pixel, of which nothing is lost as red, green, blue and alpha
        both = _laid_out(image, "RGBA").view(">u2")
        return Numbers(both[..., 0].astype(np.uint16), full, both[..., 1] / np.float32(65535))
    layout, order = raw.replace("RGBa", "RGBA").split(";")
    order = order if order != "16N" else "16L" if sys.byteorder == "little" else "16B"
    clear = image.info.get("transparency")
    upper = _laid_out(image, f"{layout};{order}")
    lower = _laid_out(again(), f"{layout};{'16L' if order == '16B' else '16B'}")  # the other byte of each pair
    array = upper.astype(np.uint16) << 8 | lower
    if array.shape[2] == 4:
        return Numbers(array[..., :3], full, array[..., 3] / np.float32(65535), premultiplied="RGBa" in raw)
    alpha = None if clear is None else (array != np.uint16(clear)).any(2).astype(np.float32)
    return Numbers(array, full, alpha)


def _laid_out(image: ImageFile.ImageFile, raw: str) -> np.ndarray:
    """A picture's pixels, decoded as if they were laid out in another way."""
    _lay_out(image, raw)
    return _loaded(image)


def _lay_out(image: ImageFile.ImageFile, raw: str) -> None:
    image.tile = [tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:])) for tile in image.tile]
