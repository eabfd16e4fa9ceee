"""Level 2: a small fully connected classifier on VGG16's bottleneck features.

    dvc exp run -S top.dropout=0.6

Writes models/top.keras (bottleneck features in, probabilities out), and what else `loop.fit` writes.
"""

from stages import networks
from stages.core import stage
from stages.frozen import activations
from stages.networks import models
from stages.training import batches, loop


def main(params) -> None:
    params = params["top"]
    networks.seed_everything(params["seed"])
    train = batches.cached(activations.BOTTLENECK, params["batch_size"], params["seed"], views=params["views"])
    photos, labels = batches.validation(activations.BOTTLENECK)
    model = models.top(photos.shape[2:], int(train.labels.max()) + 1, params)
    loop.fit("top", model, train, (photos, labels), params)


if __name__ == "__main__":
    stage.run("top", main)
