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
BAND = 13  # bits: five bands, of which two near-duplicates share one but for a bit, or else they would differ in ten
BLOCK = 1024  # photos that are compared at once


def looks(photo: Image.Image) -> tuple[np.uint64, np.ndarray]:
    """A photo's perceptual hash, and its greyscale thumbnail, flat, of mean 0 and length 1 (0 if it is all one grey)."""
    image = photo.convert("L")
    bits = np.packbits(imagehash.phash(image).hash).view(np.uint64)[0]
    grey = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR), np.float64).ravel()
    grey -= grey.mean()
    return bits, grey / (np.linalg.norm(grey) or 1)


def close(hashes: np.ndarray) -> np.ndarray:
    """The numbers (one, other), one < other, of all hashes that differ in at most `BITS` bits: an array of shape (found, 2).

    Only those are compared that have a band alike but for one bit at most (the pigeonhole principle: multi-index hashing of Norouzi,
    Punjani and Fleet, CVPR 2012): one pair of a hundred. What is found is what a comparison of all pairs would find.
    """
    found = [np.empty((0, 2), int)]
    for shift in range(0, 64, BAND):
        band = hashes >> np.uint64(shift) & np.uint64(2**BAND - 1)
        order = np.argsort(band)
        for flipped in (0, *(1 << bit for bit in range(BAND))):
            first, last = (np.searchsorted(band, band ^ np.uint64(flipped), side, order) for side in ("left", "right"))
            for start in range(0, len(hashes), BLOCK):
                begins, counts = first[start : start + BLOCK], (last - first)[start : start + BLOCK]
                one = np.repeat(np.arange(start, start + len(counts)), counts)
                other = order[np.arange(len(one)) + np.repeat(begins - counts.cumsum() + counts, counts)]
                near = (one < other) & (np.bitwise_count(hashes[one] ^ hashes[other]) <= BITS)
                found.append(np.stack([one[near], other[near]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> list[tuple[float, int, int]]:
    """(correlation, number, number) of near-duplicates among photos, for hashes of shape (n,) and `looks`' thumbnails."""
    alike = ((float(thumbnails[one] @ thumbnails[other]), int(one), int(other)) for one, other in close(hashes))
    found = [(round(correlation, 4), one, other) for correlation, one, other in alike if correlation >= CORRELATION]
    return sorted(found, key=lambda pair: (-pair[0], pair[1:]))
