"""Level 2: a small fully connected classifier on the pretrained network's bottleneck features.

    dvc exp run -S top.dropout=0.6
    dvc exp run -S top.listed=true                    # of a bucket's photos: learn from those that were not drawn as well

Writes models/top.keras (bottleneck features in, probabilities out), and what else `loop.fit` writes.
"""

from littledata import networks
from littledata.core import stage
from littledata.core.errors import UserError
from littledata.features import activations
from littledata.networks import models
from littledata.training import batches, loop


def main(params) -> None:
    params = params["top"]
    if params["listed"] and params["pooling"] != "average":
        raise UserError(f"top.listed takes averaged features, and top.pooling is {params['pooling']}: set it to average.")
    networks.seed_everything(params["seed"])
    photos, labels = batches.validation(activations.BOTTLENECK)
    model = used = models.top(photos.shape[2:], int(labels.max()) + 1, params)
    if params["listed"]:
        train, model = batches.averaged(params["batch_size"], params["seed"], params["views"]), models.on_averages(used)
    else:
        train = batches.cached(activations.BOTTLENECK, params["batch_size"], params["seed"], views=params["views"])
    loop.fit("top", model, train, (photos, labels), params, used=used)


if __name__ == "__main__":
    stage.run("top", main)
