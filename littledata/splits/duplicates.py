"""Near-duplicates among the drawn photos, above all of one split in another, which would make its accuracy too good.

Copies of a photo's file are left out by `subsample`; this finds the same picture resized, recompressed or retouched. Two
photos are near-duplicates if their perceptual hashes (64 bits of a cosine transform) differ in at most `BITS` bits and
their greyscale thumbnails correlate by `CORRELATION` or more. Writes data/duplicates.csv, the most alike first.
"""

from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

DUPLICATES = Path("data/duplicates.csv")
BITS, CORRELATION = 8, 0.95
THUMBNAIL = 32  # px
BLOCK = 16  # photos that are compared at once


def looks(photo: Image.Image) -> tuple[np.uint64, np.ndarray]:
    """A photo's perceptual hash, and its greyscale thumbnail, flat, of mean 0 and length 1 (0 if it is all one grey)."""
    image = photo.convert("L")
    bits = np.packbits(imagehash.phash(image).hash).view(np.uint64)[0]
    grey = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR), np.float64).ravel()
    grey -= grey.mean()
    return bits, grey / (np.linalg.norm(grey) or 1)


def close(hashes: np.ndarray) -> np.ndarray:
    """The numbers (one, other), one < other, of all hashes that differ in at most `BITS` bits: an array of shape (found, 2)."""
    found = [np.empty((0, 2), int)]
    for start in range(0, len(hashes), BLOCK):
        numbers = start + np.argwhere(np.bitwise_count(hashes[start : start + BLOCK, None] ^ hashes[start:]) <= BITS)
        found.append(numbers[numbers[:, 0] < numbers[:, 1]])
    return np.concatenate(found)


def pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> list[tuple[float, int, int]]:
    """(correlation, number, number) of near-duplicates among photos, for hashes of shape (n,) and `looks`' thumbnails."""
    alike = ((float(thumbnails[one] @ thumbnails[other]), int(one), int(other)) for one, other in close(hashes))
    found = [(round(correlation, 4), one, other) for correlation, one, other in alike if correlation >= CORRELATION]
    return sorted(found, key=lambda pair: (-pair[0], pair[1:]))
