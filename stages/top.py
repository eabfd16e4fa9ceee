"""Level 2: a small fully connected classifier on the pretrained network's bottleneck features.

    dvc exp run -S top.dropout=0.6
    dvc exp run -S top.listed=true                    # of a bucket's photos: learn from those that were not drawn as well

Writes models/top.keras (bottleneck features in, probabilities out), and what else `loop.fit` writes.
"""

from littledata.core import process

process.begin("top", __name__)

from littledata import networks
from littledata.core import stage
from littledata.core.errors import UserError
from littledata.core.params import Params
from littledata.features import activations
from littledata.networks import models
from littledata.training import batches, loop


def main(params: Params) -> None:
    top, seed = params.top, params.seed
    if top.listed and top.pooling != "average":
        raise UserError(f"top.listed takes averaged features, and top.pooling is {top.pooling}: set it to average.")
    networks.seed_everything(seed)
    photos, labels = batches.validation(activations.BOTTLENECK)
    model = used = models.top(photos.shape[2:], int(labels.max()) + 1, top)
    if top.listed:
        train, model = batches.averaged(top.batch_size, seed, top.views), models.on_averages(used)
    else:
        train = batches.cached(activations.BOTTLENECK, top.batch_size, seed, views=top.views)
    loop.fit("top", model, train, (photos, labels), top, used=used)


if __name__ == "__main__":
    stage.run("top", main)
