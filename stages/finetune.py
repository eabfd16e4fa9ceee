"""Level 3: train the pretrained network's last blocks together with the level-2 classifier, on the cached activations.

    dvc exp run -S finetune.lr=1e-4
    dvc exp run -S 'finetune.unfreeze=[block4,block5]'      # moves the cut, so activations are computed anew

Writes models/finetune.keras (activations in, probabilities out), and what else `loop.fit` writes.
"""

from littledata.core import process

process.begin("finetune", __name__)

import numpy as np

from littledata import networks
from littledata.core import stage
from littledata.core.params import Params
from littledata.features import activations
from littledata.networks import backbone, finetuned, keras
from littledata.training import batches, loop


def main(params: Params) -> None:
    tuning = params.finetune
    keras.utils.set_random_seed(params.seed)
    train = batches.cached(
        activations.ACTIVATIONS, tuning.batch_size, params.seed, look=tuning.look, mirror=params.activations.augmentation.flip
    )
    model, level_2 = finetuned.build(params), np.load(activations.VALIDATION / "top.npy")
    by_xla = backbone.by_xla(model)
    if not by_xla:  # it repeats as it is, and this would turn it off
        networks.add_up_in_one_order()
    loop.fit(
        "finetune",
        model,
        train,
        batches.validation(activations.ACTIVATIONS),
        tuning,
        # Counted in photos, since few of them tell a gain late: as many looks as show so many validation photos.
        patience=-(-tuning.patience // len(level_2)),
        warmup=tuning.warmup,
        ema=tuning.ema,
        jit_compile=by_xla,
        start=level_2,
    )


if __name__ == "__main__":
    stage.run("finetune", main)
