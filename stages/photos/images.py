"""Photos as arrays: decode whatever people call a picture, resize it, augment it.

Everything here is a pure function of its arguments. The random numbers of an augmented view come from the
photo's own digest, so a photo looks the same in every run, in any order and from any number of threads.
"""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageEnhance, ImageOps, UnidentifiedImageError

from stages.core import environment
from stages.core.progress import progress

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF")
Image.init()  # Pillow knows JPEG, PNG, GIF and BMP without, the others only after it
pillow_heif.register_heif_opener()  # what phones take
MIN_SIDE = 16  # px; below this there is nothing to see
MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet
MAX_PIXELS = 150_000_000  # a 108-megapixel phone photo passes, a decompression bomb doesn't


class UnreadablePhoto(Exception):
    """The bytes are not a photo that can be used; the message says why, for `data/skipped.csv`."""


def decode(data: bytes, size: int | None = None) -> Image.Image:
    """Decode a picture into upright 8-bit RGB.

    Greyscale, palette, CMYK and 16-bit pictures are converted; transparency is laid over white; the EXIF
    orientation is applied.

    Parameters
    ----------
    data : bytes
        The picture's file.
    size : int, optional
        The side in px that it will be resized to. A much larger JPEG is then decoded at half, a quarter or an
        eighth of its size, never below twice `size`: what that leaves out the resize would have left out.

    Raises
    ------
    UnreadablePhoto
        For bytes that are empty, truncated, no picture, absurdly large or too small.
    """
    if not data:
        raise UnreadablePhoto("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadablePhoto(f"absurdly large: {width} x {height} px")
        if min(width, height) < MIN_SIDE:
            raise UnreadablePhoto(f"too small: {width} x {height} px")
        if size is not None:
            image.draft("RGB", (2 * size, 2 * size))
        image.load()
        return _rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UnreadablePhoto("not a picture") from None
    except Image.DecompressionBombError:
        raise UnreadablePhoto("absurdly large") from None
    except UnreadablePhoto:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise UnreadablePhoto(f"can't be decoded: {error}") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16-bit greyscale: Pillow's own conversion clips it to white
        grey = np.asarray(image, np.float32)
        scale = 257.0 if grey.max() > 255 else 1.0
        return Image.fromarray(np.clip(grey / scale, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def resize(image: Image.Image, size: int, fit: str = "squash") -> np.ndarray:
    """The picture at `size` x `size` px: uint8 of shape (size, size, 3).

    `fit` is how it becomes a square. `squash` it as the blog does; or keep its aspect ratio and `crop` its longer sides
    about the centre, or `pad` its shorter ones with ImageNet's mean colour, which preprocessing makes 0.
    """
    side = (size, size)
    if fit == "crop":
        return np.asarray(ImageOps.fit(image, side, Image.Resampling.BILINEAR))
    if fit == "pad":
        return np.asarray(ImageOps.pad(image, side, Image.Resampling.BILINEAR, tuple(round(mean) for mean in MEAN_BGR[::-1])))
    return np.asarray(image.resize(side, Image.Resampling.BILINEAR))


def square(data: bytes, size: int, fit: str = "squash") -> np.ndarray:
    """A picture's file as `resize` gives it, decoded no larger than that takes; raises what `decode` does."""
    return resize(decode(data, size), size, fit)


def whole(size: int, crops: int) -> int:
    """The side of the square that crops of a side are cut from, in px: the same for one, an eighth more for five."""
    return size if crops == 1 else size * 9 // 8


def corners(size: int, crops: int) -> list[tuple[int, int]]:
    """Where in that square they begin, (top, left): the middle one, then the four in its corners."""
    end = whole(size, crops) - size
    return [(end // 2, end // 2), (0, 0), (0, end), (end, 0), (end, end)][:crops]


def cropped(data: bytes, size: int, fit: str, crops: int) -> np.ndarray:
    """A picture's file as its crops: uint8 of shape (crops, size, size, 3); raises what `decode` does.

    Averaging what a network says of five is from Krizhevsky et al., "ImageNet Classification with Deep Convolutional
    Neural Networks", NeurIPS 2012, who mirrored them as well.
    """
    pixels = square(data, whole(size, crops), fit)
    return np.stack([pixels[top : top + size, left : left + size] for top, left in corners(size, crops)])


def read(paths: Sequence[Path], size: int, fit: str, label: str) -> np.ndarray:
    """Decode and resize files: uint8 array of shape (n, size, size, 3). `label` is for the progress."""
    array = np.empty((len(paths), size, size, 3), np.uint8)
    with progress(len(paths), label) as bar, ThreadPoolExecutor(environment.THREADS) as pool:
        for row, pixels in zip(array, pool.map(lambda path: square(path.read_bytes(), size, fit), paths)):
            row[:] = pixels
            bar.update(1)
    return array


def preprocess(pixels: np.ndarray, how: str) -> np.ndarray:
    """uint8 RGB pixels (..., 3) as the float32 that VGG16 reads.

    `imagenet`: what its weights were trained with, BGR less the ImageNet mean. `rescale`: the blog's 1/255.
    """
    if how == "rescale":
        return pixels.astype(np.float32) / 255
    return pixels[..., ::-1].astype(np.float32) - np.float32(MEAN_BGR)


def random_numbers(seed: int, view: int, sha256: str) -> np.random.Generator:
    """The random numbers of one augmented view of one photo."""
    return np.random.default_rng([seed, view, int(sha256[:16], 16)])


def padded(pixels: np.ndarray) -> Image.Image:
    """What `augment` reads: a square picture, a third of its side wider at every edge, by reflection."""
    pad = len(pixels) // 3
    return Image.fromarray(np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)), mode="reflect"))


def augment(photo: Image.Image, size: int, strength: Mapping, rng: np.random.Generator) -> np.ndarray:
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
    shear, angle, shift_x, shift_y = rng.uniform(-1, 1, 4) * (
        strength["shear"], np.radians(strength["rotation"]), strength["shift"] * size, strength["shift"] * size
    )  # fmt: skip
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
