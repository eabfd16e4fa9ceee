"""VGG16's bottleneck features: the pretrained rest of the network, run over the cached activations.

Writes data/bottleneck/<split>.npy and .csv, the output of block5's pooling for every view.
"""

from pathlib import Path

from stages.lib import quiet, stage  # isort: skip: first, it keeps TensorFlow quiet
import numpy as np

from stages.lib import activations, dataset, vgg16
from stages.lib.progress import progress

WEIGHTS = Path("models/vgg16.weights.h5")
BATCH_SIZE = 32


def main(params) -> None:
    network = vgg16.load(WEIGHTS, params["image_size"])
    rest = vgg16.above(network, vgg16.cut_layer(params["finetune"]["unfreeze"]))
    rest.compile(jit_compile=True)
    for split in dataset.SPLITS:
        below, photos = activations.read(activations.ACTIVATIONS, split)
        views = len(below)
        features = activations.create(activations.BOTTLENECK, photos, views, rest.output_shape[1:])
        with progress(views * len(photos), f"{split} views", "views") as bar:
            for view in range(views):
                for start in range(0, len(photos), BATCH_SIZE):
                    batch = below[view, start : start + BATCH_SIZE].astype(np.float32)
                    features[view, start : start + BATCH_SIZE] = rest.predict_on_batch(batch)
                    bar.update(len(batch))
        features.flush()


if __name__ == "__main__":
    stage.run("bottleneck", main)
