"""Compute the output of the pretrained network's frozen layers, once for every augmented view of every photo.

Everything below the cut stays as it was pretrained, so its output for one picture never changes. It is computed once and
cached. An experiment with another learning rate, dropout, seed or number of epochs trains only what lies above the cut.
The cut follows `finetune.unfreeze`: with [block5] it is the output of block4's pooling. Every view is also kept by itself, so
another draw of the same photos computes nothing anew, and a run that was interrupted goes on where it was.

Writes data/activations/<split>.npy and .csv: training photos in `activations.views` views, the first of them
plain; all other photos plain, or in five crops (`activations.crops`).
"""

from littledata.core import process

process.begin("activations", __name__)

from littledata.core import paths, stage
from littledata.core.progress import progress
from littledata.features import activations, layers, memo, views
from littledata.pictures import deep
from littledata.splits import dataset


def main(params) -> None:
    size, settings = params.image_size, params.activations
    manifest, depth = dataset.read_manifest(), deep.read()
    network = layers.Frozen(paths.WEIGHTS, params.backbone, params.finetune.unfreeze)
    shape = network.output_shape((size, size, 3))
    origin = views.origin(params, depth)
    plain = memo.Memo(*origin)
    augmented = memo.Memo(*origin, params.seed, dict(settings.augmentation))
    crops = memo.Memo(*origin, settings.crops) if settings.crops > 1 else plain

    def pictures(item):
        photo, view = item
        pixels = views.view_of(photo, view, size, params.fit, settings, depth, seed=params.seed)
        return network.preprocess(pixels[None], params.preprocessing)

    def recall(item, compute):
        photo, view = item
        kept = crops if photo.split != "train" else augmented if view else plain
        return kept.get(f"{photo.sha256}-{view}", compute)

    for split in dataset.splits(manifest):
        photos = dataset.of_split(manifest, split)
        count = settings.views if split == "train" else settings.crops
        items = [(photo, view) for photo in photos for view in range(count)]
        with (
            activations.writer(activations.ACTIVATIONS, photos, count, shape) as append,
            progress(len(items), f"{split} views", "views") as bar,
        ):
            for computed in network.outputs(items, pictures, recall):
                append(computed)
                bar.update(len(computed))


if __name__ == "__main__":
    stage.run("activations", main)
