"""Level 2: a small fully connected classifier on VGG16's bottleneck features.

    dvc exp run -S top.dropout=0.6

Writes models/top.keras (bottleneck features in, probabilities out), and what else `training.fit` writes.
"""

from stages.lib import stage, quiet  # isort: skip: first the clock starts, then TensorFlow, quietly
from stages.lib import activations, dataset, determinism, models, training


def main(params) -> None:
    params = params["top"]
    determinism.seed_everything(params["seed"])
    train = training.cached(activations.BOTTLENECK, params["batch_size"], params["seed"], views=params["views"])
    photos, labels = training.validation(activations.BOTTLENECK)
    model = models.top(photos.shape[2:], int(train.labels.max()) + 1, params)
    training.fit("top", model, train, (photos, labels), params)


if __name__ == "__main__":
    stage.run("top", main)
