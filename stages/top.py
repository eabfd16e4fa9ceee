"""Level 2: a small fully connected classifier on VGG16's bottleneck features.

    dvc exp run -S top.dropout=0.6

Writes models/top.keras (bottleneck features in, probabilities out), and what else `training.fit` writes.
"""

from stages.lib import stage, quiet  # isort: skip: first the clock starts, then TensorFlow, quietly
from stages.lib import activations, dataset, determinism, models, training


def main(params) -> None:
    params = params["top"]
    determinism.seed_everything(params["seed"])
    batch_size = params["batch_size"]
    train = training.cached(activations.BOTTLENECK, "train", batch_size, params["seed"], views=params["views"])
    validation = training.cached(activations.BOTTLENECK, "validation", batch_size)
    features, photos = activations.read(activations.BOTTLENECK, "train")
    model = models.top(features.shape[2:], len(dataset.class_names(photos)), params)
    training.fit("top", model, train, validation, params)


if __name__ == "__main__":
    stage.run("top", main)
