"""Near-duplicates among the drawn photos, above all of one split in another, which would make its accuracy too good.

Copies of a photo's file are left out by `subsample`; this finds the same picture resized, recompressed or retouched. Two
photos are near-duplicates if their perceptual hashes (64 bits of a cosine transform) differ in at most `BITS` bits and
their greyscale thumbnails correlate by `CORRELATION` or more. Writes data/duplicates.csv, the most alike first.
"""

from littledata.core import process

process.begin("duplicates", __name__)

import numpy as np

from littledata.core import stage, tables
from littledata.core.progress import each
from littledata.pictures import deep, images
from littledata.splits import dataset, duplicates


def main(params) -> None:
    photos, depth = dataset.read_manifest(), deep.read()
    looks = each(lambda photo: duplicates.looks(images.decode(photo.read(), 2 * duplicates.THUMBNAIL, depth)), photos)
    hashes, thumbnails = (np.array(column) for column in zip(*looks))
    alike = duplicates.pairs(hashes, thumbnails)
    rows = [(correlation, *(name for n in both for name in (photos[n].file, photos[n].original))) for correlation, *both in alike]
    tables.write(duplicates.DUPLICATES, ["correlation", "file1", "original1", "file2", "original2"], rows)
    across = sum(photos[one].split != photos[other].split for _, one, other in alike)
    print(f"{len(alike)} pairs of near-duplicates among {len(photos)} photos, {across} of them across splits")


if __name__ == "__main__":
    stage.run("duplicates", main)
