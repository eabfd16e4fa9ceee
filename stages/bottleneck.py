"""VGG16's bottleneck features: the pretrained rest of the network, run over the cached activations.

Writes data/bottleneck/<split>.npy and .csv, the output of block5's pooling for every view.
"""

from pathlib import Path

from stages.lib import stage, quiet  # isort: skip: first the clock starts, then TensorFlow, quietly
import numpy as np

from stages.lib import activations, dataset, frozen, vgg16
from stages.lib.progress import progress

WEIGHTS = Path("models/vgg16.weights.h5")
BATCH_SIZE = 32


def main(params) -> None:
    network = vgg16.load(WEIGHTS, params["image_size"])
    rest = vgg16.above(network, vgg16.cut_layer(params["finetune"]["unfreeze"]))
    run = frozen.runner(rest)
    for split in dataset.SPLITS:
        below, photos = activations.read(activations.ACTIVATIONS, split)
        views = below.shape[1]
        flat = below.reshape(-1, *below.shape[2:])
        with (
            activations.writer(activations.BOTTLENECK, photos, views, rest.output_shape[1:]) as append,
            progress(len(flat), f"{split} views", "views") as bar,
        ):
            for start in range(0, len(flat), BATCH_SIZE):
                batch = flat[start : start + BATCH_SIZE].astype(np.float32)
                append(run(batch))
                bar.update(len(batch))


if __name__ == "__main__":
    stage.run("bottleneck", main)
