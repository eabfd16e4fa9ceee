"""Near-duplicates among the drawn photos, above all of one split in another, which would make its accuracy too good.

Copies of a photo's file are left out by `subsample`; this finds the same picture resized, recompressed or retouched. Two
photos are near-duplicates if their perceptual hashes (64 bits of a cosine transform) differ in at most `BITS` bits and
their greyscale thumbnails correlate by `CORRELATION` or more. Writes data/duplicates.csv, the most alike first.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from stages.core import environment, stage, tables
from stages.core.progress import progress
from stages.photos import dataset
from stages.pictures import deep, images

DUPLICATES = Path("data/duplicates.csv")
BITS, CORRELATION = 8, 0.95
THUMBNAIL = 32  # px
BLOCK = 1024  # photos that are compared with all others at once


def looks(photo: Image.Image) -> tuple[np.uint64, np.ndarray]:
    """A photo's perceptual hash, and its greyscale thumbnail, flat, of mean 0 and length 1 (0 if it is all one grey)."""
    image = photo.convert("L")
    bits = np.packbits(imagehash.phash(image).hash).view(np.uint64)[0]
    grey = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR), np.float64).ravel()
    grey -= grey.mean()
    return bits, grey / (np.linalg.norm(grey) or 1)


def pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> list[tuple[float, int, int]]:
    """(correlation, number, number) of near-duplicates among photos, for hashes of shape (n,) and `looks`' thumbnails."""
    found = []
    for start in range(0, len(hashes), BLOCK):
        apart = np.bitwise_count(hashes[start : start + BLOCK, None] ^ hashes)
        for row, other in zip(*np.nonzero(apart <= BITS)):
            one = start + row
            if one < other and (correlation := float(thumbnails[one] @ thumbnails[other])) >= CORRELATION:
                found.append((round(correlation, 4), int(one), int(other)))
    return sorted(found, key=lambda pair: (-pair[0], pair[1:]))


def main(params) -> None:
    photos, depth = dataset.read_manifest(), deep.read()
    with progress(len(photos), "photos") as bar, ThreadPoolExecutor(environment.THREADS) as pool:
        found = []
        for look in pool.map(lambda photo: looks(images.decode(photo.read(), 2 * THUMBNAIL, depth)), photos):
            found.append(look)
            bar.update(1)
    hashes, thumbnails = (np.array(column) for column in zip(*found))
    alike = pairs(hashes, thumbnails)
    names = [(correlation, *(name for n in both for name in (photos[n].file, photos[n].original))) for correlation, *both in alike]
    tables.write(DUPLICATES, ["correlation", "file1", "original1", "file2", "original2"], names)
    across = sum(photos[one].split != photos[other].split for _, one, other in alike)
    print(f"{len(alike)} pairs of near-duplicates among {len(photos)} photos, {across} of them across splits")


if __name__ == "__main__":
    stage.run("duplicates", main)
