"""Draw the photos of each split from the archive, or from the list of what lies elsewhere, and say which.

    dvc exp run -S subsample.seed=2                   # another draw
    dvc exp run -S subsample.order=archive            # the blog's: the first 1000 train, the next 400 validate
    dvc exp run -S subsample.parts=5 -S subsample.part=2       # the second part of five validates, the others train
    dvc exp run -S subsample.parts=5 -S subsample.part=2 -S subsample.part_is=test      # it tests, the third validates
    dvc exp run -S subsample.train=0.6 -S subsample.validation=0.2 -S subsample.test=0.2      # shares of every class

Writes data/photos/<split>/<class>/, data/manifest.csv, data/skipped.csv and data/depth.json, the range of training photos of
more than 8 bits; and data/listed.csv, all photos of a list, drawn or not, by their whole addresses. A photo's place in the draw
and its file's name come from its own digest and the seed, so that one photo more or less moves hardly another one. All photos of
the archive are read; decoded are as many as are needed. A photo that can't be used is skipped and listed, and the next one takes
its place; so is a copy of another one. A photo that is in two classes is not used in either. Where folders give splits, all their
photos are taken as they stand.
"""

from littledata.core import process

process.begin("subsample", __name__)

import shutil

from littledata.core import files, paths, stage, tables
from littledata.core.progress import progress
from littledata.photos import listing
from littledata.pictures import deep, images
from littledata.splits import dataset, draw


def main(params) -> None:
    params, skipped = params.subsample, []
    try:
        with progress(None, "photos decoded") as bar:
            manifest = draw.draw(params, skipped, bar)
    except BaseException:
        shutil.rmtree(dataset.PHOTOS, ignore_errors=True)  # a half-drawn set must not look like a whole one
        raise
    finally:  # above all where photos are too few
        tables.write(draw.SKIPPED, ["file", "reason"], skipped)
    dataset.write_manifest(manifest)
    with files.whole(paths.LISTED) as file:
        listing.write(file, draw.listed())
    deep.write(deep.depth_of(images.extent(photo.read()) for photo in dataset.of_split(manifest, "train")))
    print(f"{len(manifest)} photos, {len(skipped)} skipped (listed in {draw.SKIPPED})")


if __name__ == "__main__":
    stage.run("subsample", main)
