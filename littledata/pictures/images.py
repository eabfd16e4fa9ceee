"""Photos as arrays: decode whatever people call a picture, resize it, augment it.

Everything here is a pure function of its arguments. The random numbers of an augmented view come from the
photo's own digest, so a photo looks the same in every run, in any order and from any number of threads.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pillow_heif
from PIL import Image, ImageEnhance, ImageFile, ImageOps, UnidentifiedImageError

from littledata.core import environment
from littledata.core.progress import progress
from littledata.pictures import deep, kinds, metadata, tiff

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF")  # by contents; a JPEG of several, MPO, is one
Image.init()  # Pillow knows JPEG, PNG, GIF and BMP without, the others only after it
pillow_heif.register_heif_opener()  # what phones take
MIN_SIDE = 16  # px; below this there is nothing to see
LOOK = 512  # px, as `decode` has `size`: what a first look at a photo takes, so that a huge JPEG is decoded small
ORIENTATION = 0x0112
TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90".split()
UPRIGHT = {orientation: Image.Transpose[turn] for orientation, turn in enumerate(TURNS, start=2)}  # by EXIF's orientation
MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet
MAX_PIXELS = 150_000_000  # a 108-megapixel phone photo passes, a decompression bomb doesn't
MAX_BYTES = 3 * MAX_PIXELS  # decoded: deeper pictures, and those with transparency, take more a pixel
ROWS = 1024  # that are laid over white at once
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which would answer first, and without the size
warnings.filterwarnings("ignore", module=r"PIL\.")  # they would say which line of Pillow wonders, but not at which photo


T = TypeVar("T")


class UnreadablePhoto(Exception):
    """The bytes are not a photo that can be used; the message says why, for `data/skipped.csv`."""


def decode(data: bytes, size: int | None = None, depth: deep.Depth = deep.UNKNOWN) -> Image.Image:
    """Decode a picture into upright 8-bit RGB.

    Greyscale, palette, CMYK and deeper pictures are converted; transparency is laid over white; the EXIF orientation is applied.
    Metadata that can't be read is left out. Of an animation it is the first picture.

    Parameters
    ----------
    data : bytes
        The picture's file.
    size : int, optional
        The side in px that it will be resized to. A much larger JPEG is then decoded at half, a quarter or an
        eighth of its size, never below twice `size`: what that leaves out the resize would have left out. One of more than
        `MAX_PIXELS` is decoded as small as it takes.
    depth : deep.Depth
        What is black and white in pictures of more than 8 bits; where it doesn't say, the ends of what the file could hold.

    Raises
    ------
    UnreadablePhoto
        For bytes that are empty, truncated, no picture, one of a kind that can't be read, absurdly large or too small.
    """
    return _tried(data, lambda data: _decoded(data, size, depth))


def extent(data: bytes) -> deep.Extent | None:
    """The lowest and the highest number in a picture of more than 8 bits, None for any other; raises what `decode` does."""
    numbers = _tried(data, lambda data: deep.numbers(_opened(data, LOOK), lambda: _opened(data, LOOK)))
    return numbers.extent() if numbers else None


def sides(data: bytes) -> tuple[int, int]:
    """A picture's width and height in px as its file has them, before it is turned; raises what `decode` does."""
    return _tried(data, lambda data: _opened(data, LOOK, draft=False).size)


def _tried(data: bytes, how: Callable[[bytes], T]) -> T:
    """What can be had of a picture's file, with all its metadata or else with less of it; UnreadablePhoto where nothing can."""
    if not data:
        raise UnreadablePhoto("the file is empty")
    first = None
    for version in metadata.versions(data):
        try:
            return how(version)
        except UnreadablePhoto:
            raise
        except MemoryError:
            raise UnreadablePhoto("takes more memory than there is") from None
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            first = first or error
    raise UnreadablePhoto(_why(data, first)) from None


def _why(data: bytes, error: Exception) -> str:
    """Why a picture's file can't be decoded, in words."""
    explain = tiff.unread if isinstance(error, (UnidentifiedImageError, KeyError)) else tiff.unsupported
    if kinds.TIFF.match(data) and (reason := explain(data)):
        return reason
    if not isinstance(error, UnidentifiedImageError):
        return f"can't be decoded: {' '.join(str(error).split()) or type(error).__name__}"  # some have several lines, or none
    if (kind := kinds.of("", data[: kinds.HEAD])) is None:
        return "a film, not a picture" if data[4:8] == b"ftyp" else "not a picture"
    return kind or metadata.jpeg_kind(data) or "can't be decoded: its first part is damaged"


def _opened(data: bytes, size: int | None, draft: bool = True) -> ImageFile.ImageFile:
    """A picture's file opened, its size and kind checked, not decoded; UnreadablePhoto where it won't be."""
    if kinds.TIFF.match(data) and (reason := tiff.refused(data)):
        raise UnreadablePhoto(reason)
    if data[8:16] == b"WEBPVP8X":  # Pillow makes room for it as soon as it is opened
        _check(1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    bytes_a_pixel = deep.bytes_a_pixel(image)
    least = 1  # what the sides have to be divided by
    if size is not None and image.format in ("JPEG", "MPO"):
        least = next((scale for scale in (1, 2, 4) if -(-width // scale) * -(-height // scale) <= most(bytes_a_pixel)), 8)
    _check(width, height, least, bytes_a_pixel)
    if size is not None and draft:
        image.draft("RGB", (min(2 * size, width // least), min(2 * size, height // least)))
    return image


def most(bytes_a_pixel: int) -> int:
    """The most pixels of so many bytes that a picture may have."""
    return min(MAX_PIXELS, MAX_BYTES // bytes_a_pixel)


def _check(width: int, height: int, divided: int = 1, bytes_a_pixel: int = 3) -> None:
    if -(-width // divided) * -(-height // divided) > (pixels := most(bytes_a_pixel)):
        raise UnreadablePhoto(f"absurdly large: {width} x {height} px, more than {pixels / 1e6:.0f} million")
    if min(width, height) < MIN_SIDE:
        raise UnreadablePhoto(f"too small: {width} x {height} px")


def _decoded(data: bytes, size: int | None, depth: deep.Depth) -> Image.Image:
    image = _opened(data, size)
    numbers = deep.numbers(image, lambda: _opened(data, size))
    if not numbers:
        image.load()
    picture = numbers.picture(depth) if numbers else _rgb(image)
    try:
        turn = UPRIGHT.get(int(image.getexif().get(ORIENTATION, 1)))
    except Exception:  # as many kinds as there are broken files
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        over = Image.new("RGB", image.size)
        for top in range(0, image.height, ROWS):  # the whole of a large one would take memory four times over
            rows = image.crop((0, top, image.width, min(top + ROWS, image.height)))
            over.paste(Image.alpha_composite(Image.new("RGBA", rows.size, "white"), rows).convert("RGB"), (0, top))
        return over
    return image.convert("RGB")


def resize(image: Image.Image, size: int, fit: str = "squash") -> np.ndarray:
    """The picture at `size` x `size` px: uint8 of shape (size, size, 3).

    `fit` is how it becomes a square. `squash` it as the blog does; or keep its aspect ratio and `crop` its longer sides
    about the centre, or `pad` its shorter ones with ImageNet's mean colour, which preprocessing makes 0.
    """
    side, how = (size, size), Image.Resampling.BILINEAR
    if fit == "crop":
        return np.asarray(ImageOps.fit(image, side, how))
    if fit == "pad":
        return np.asarray(ImageOps.pad(image, side, how, tuple(round(mean) for mean in MEAN_BGR[::-1])))
    return np.asarray(image.resize(side, how))


def square(data: bytes, size: int, fit: str = "squash", depth: deep.Depth = deep.UNKNOWN) -> np.ndarray:
    """A picture's file as `resize` gives it, decoded no larger than that takes; raises what `decode` does."""
    return resize(decode(data, size, depth), size, fit)


def whole(size: int, crops: int) -> int:
    """The side of the square that crops of a side are cut from, in px: the same for one, an eighth more for five."""
    return size if crops == 1 else size * 9 // 8


def corners(size: int, crops: int) -> list[tuple[int, int]]:
    """Where in that square they begin, (top, left): the middle one, then the four in its corners."""
    end = whole(size, crops) - size
    return [(end // 2, end // 2), (0, 0), (0, end), (end, 0), (end, end)][:crops]


def cropped(data: bytes, size: int, fit: str, crops: int, depth: deep.Depth = deep.UNKNOWN) -> np.ndarray:
    """A picture's file as its crops: uint8 of shape (crops, size, size, 3); raises what `decode` does.

    Averaging what a network says of five is from Krizhevsky et al., "ImageNet Classification with Deep Convolutional
    Neural Networks", NeurIPS 2012, who mirrored them as well.
    """
    pixels = square(data, whole(size, crops), fit, depth)
    return np.stack([pixels[top : top + size, left : left + size] for top, left in corners(size, crops)])


def read(reads: Sequence[Callable[[], bytes]], size: int, fit: str, label: str, depth: deep.Depth) -> np.ndarray:
    """Decode and resize photos, each read by a function: uint8 array of shape (n, size, size, 3). `label` is for the progress."""
    array = np.empty((len(reads), size, size, 3), np.uint8)
    with progress(len(reads), label) as bar, ThreadPoolExecutor(environment.THREADS) as pool:
        for row, pixels in zip(array, pool.map(lambda read: square(read(), size, fit, depth), reads)):
            row[:] = pixels
            bar.update(1)
    return array


def preprocess(pixels: np.ndarray, how: str) -> np.ndarray:
    """uint8 RGB pixels (..., 3) as the float32 that VGG16 reads.

    `imagenet`: what its weights were trained with, BGR less the ImageNet mean. `rescale`: the blog's 1/255.
    """
    if how == "rescale":
        return pixels.astype(np.float32) / 255
    return pixels[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, np.float32)


def random_numbers(seed: int, view: int, sha256: str) -> np.random.Generator:
    """The random numbers of one augmented view of one photo."""
    return np.random.default_rng([seed, view, int(sha256[:16], 16)])


def padded(pixels: np.ndarray) -> Image.Image:
    """What `augment` reads: a square picture, a third of its side wider at every edge, by reflection."""
    pad = len(pixels) // 3
    return Image.fromarray(np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="reflect"))


def augment(photo: Image.Image, size: int, strength, rng: np.random.Generator) -> np.ndarray:
    """One random view of a photo, after the Keras blog's `ImageDataGenerator` and its closing list.

    Parameters
    ----------
    photo : PIL.Image.Image
        `padded`, so that a photo that is augmented in every epoch is padded once.
    size : int
        The side of the photo without its padding, and of the view, in px.
    strength : mapping
        `flip` mirrors half of the views; `shear` (largest slant, px per px), `zoom` (0.2: each axis between
        0.8 and 1.2), `rotation` (largest angle, degrees), `shift` (largest shift, a fraction of the side)
        and `colour` (brightness, contrast and saturation each between 1 - colour and 1 + colour).
    rng : numpy.random.Generator

    Returns
    -------
    uint8 array of shape (size, size, 3). What a shift or rotation uncovers is filled by reflection.
    """
    shift = strength["shift"] * size
    shear, angle, shift_x, shift_y = rng.uniform(-1, 1, 4) * (strength["shear"], np.radians(strength["rotation"]), shift, shift)
    zoom_x, zoom_y = 1 + rng.uniform(-1, 1, 2) * strength["zoom"]
    mirror = -1 if strength["flip"] and rng.random() < 0.5 else 1
    colours = 1 + rng.uniform(-1, 1, 3) * strength["colour"]

    # Output coordinates to input coordinates, about the centre.
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ [[1, shear], [0, 1]] @ np.diag([mirror * zoom_x, zoom_y])
    centre = np.full(2, (size - 1) / 2 + 0.5)
    offset = centre + (shift_x, shift_y) + size // 3 - matrix @ centre
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    # Bilinear takes a third of the time, and cost level 1 three points of accuracy.
    image = photo.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)

    if strength["colour"]:
        for enhance, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), colours):
            image = enhance(image).enhance(factor)
    return np.asarray(image)
