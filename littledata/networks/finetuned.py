"""Level 3's network: the unfrozen blocks under level 2's classifier."""

from pathlib import Path

from littledata.core import paths
from littledata.core.params import Params
from littledata.networks import backbone, keras, models

TOP = Path("models/top.keras")


def build(params: Params) -> keras.Model:
    """The unfrozen blocks, pretrained, under the classifier of level 2, with level 3's own regularisation."""
    top, tuning = params.top, params.finetune
    penalties = tuning.l1, tuning.l2
    whole = backbone.load(params.backbone, paths.WEIGHTS, params.image_size)
    network = backbone.above(whole, tuning.unfreeze, models.penalty(*penalties))
    trained = keras.saving.load_model(TOP, compile=False)
    output = models.classifier(network.output, models.classes(trained), top.pooling, top.units, tuning.dropout, *penalties)
    model = keras.Model(network.input, output, name="finetune")
    for layer in trained.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return model
