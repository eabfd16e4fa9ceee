"""Level 3: train the pretrained network's last blocks together with the level-2 classifier, on the cached activations.

    dvc exp run -S finetune.lr=1e-4
    dvc exp run -S 'finetune.unfreeze=[block4,block5]'      # moves the cut, so activations are computed anew

Writes models/finetune.keras (activations in, probabilities out), and what else `loop.fit` writes.
"""

from pathlib import Path

import numpy as np

from stages import networks
from stages.core import stage
from stages.frozen import activations
from stages.networks import backbone, keras, models
from stages.training import batches, loop

WEIGHTS = Path("models/backbone.weights.h5")
TOP = Path("models/top.keras")


def build(params) -> keras.Model:
    """The unfrozen blocks, pretrained, under the classifier of level 2, with level 3's own regularisation."""
    tuning = params["finetune"]
    network = backbone.load(params["backbone"], WEIGHTS, params["image_size"])
    rest = backbone.above(network, tuning["unfreeze"], models.penalty(tuning))
    trained = keras.saving.load_model(TOP, compile=False)
    regularisation = {name: tuning[name] for name in ("dropout", "l1", "l2")}
    output = models.classifier(rest.output, models.classes(trained), {**params["top"], **regularisation})
    model = keras.Model(rest.input, output, name="finetune")
    for layer in trained.layers:
        if layer.weights:
            own = model.get_layer(layer.name)
            own.set_weights(layer.get_weights())
            own.trainable = not isinstance(layer, keras.layers.BatchNormalization)  # `top.scaling` stays as level 2 found it
    return model


def pace(model: keras.Model, tuning) -> dict[str, float]:
    """The factor of each variable's rate: 1 for the classifier, and for each block `block_pace` times the one above it."""
    blocks, block, found = tuning["unfreeze"], 0, {}
    for layer in model.layers:
        block = next((number for number, name in enumerate(blocks) if f"{layer.name}_".startswith(f"{name}_")), block)
        power = 0 if layer.name in ("hidden", "probability") else len(blocks) - block
        found |= {variable.path: tuning["block_pace"] ** power for variable in layer.trainable_variables}
    return found


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
    model, level_2 = build(params), np.load(activations.VALIDATION / "top.npy")
    by_xla = backbone.by_xla(model)
    if not by_xla:  # it repeats as it is, and this would turn it off
        networks.add_up_in_one_order()
    paced = pace(model, tuning) if tuning["block_pace"] != 1 else None
    # Counted in photos, since few of them tell a gain late: as many looks as show so many validation photos.
    patience = -(-tuning["patience"] // len(level_2))
    tuning = {**tuning, "patience": patience}
    loop.fit("finetune", model, train, validation, tuning, pace=paced, jit_compile=by_xla, start=level_2)


if __name__ == "__main__":
    stage.run("finetune", main)
