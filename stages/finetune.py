"""Level 3: train the pretrained network's last blocks together with the level-2 classifier, on the cached activations.

    dvc exp run -S finetune.lr=1e-4
    dvc exp run -S 'finetune.unfreeze=[block4,block5]'      # moves the cut, so activations are computed anew

Writes models/finetune.keras (activations in, probabilities out), and what else `loop.fit` writes.
"""

import numpy as np

from littledata import networks
from littledata.core import stage
from littledata.features import activations
from littledata.networks import backbone, finetuned, keras
from littledata.training import batches, loop


def main(params) -> None:
    tuning = params["finetune"]
    keras.utils.set_random_seed(tuning["seed"])
    train = batches.cached(
        activations.ACTIVATIONS,
        tuning["batch_size"],
        tuning["seed"],
        views=tuning["views"],
        look=tuning["look"],
        mirror=tuning["mirror"],
    )
    validation = batches.validation(activations.ACTIVATIONS)
    model, level_2 = finetuned.build(params), np.load(activations.VALIDATION / "top.npy")
    by_xla = backbone.by_xla(model)
    if not by_xla:  # it repeats as it is, and this would turn it off
        networks.add_up_in_one_order()
    paced = finetuned.pace(model, tuning) if tuning["block_pace"] != 1 else None
    # Counted in photos, since few of them tell a gain late: as many looks as show so many validation photos.
    patience = -(-tuning["patience"] // len(level_2))
    tuning = {**tuning, "patience": patience}
    loop.fit("finetune", model, train, validation, tuning, pace=paced, jit_compile=by_xla, start=level_2)


if __name__ == "__main__":
    stage.run("finetune", main)
