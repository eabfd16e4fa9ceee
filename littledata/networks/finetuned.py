"""Level 3's network: the unfrozen blocks under level 2's classifier."""

from pathlib import Path

from littledata.networks import backbone, keras, models

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
