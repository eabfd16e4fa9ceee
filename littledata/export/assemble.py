"""Assemble the whole network of a level: preprocessing, the frozen layers, and what was trained on top of them."""

from pathlib import Path

from littledata.core.paths import CLASSIFIER, WEIGHTS
from littledata.networks import backbone, keras, preprocessing
from littledata.pictures import images

SOURCE = Path("data/raw/source.json")
ONNX, KERAS = CLASSIFIER, CLASSIFIER.with_suffix(".keras")


def model_of(level: str) -> Path:
    return Path("models", f"{level}.keras")


def parts(params, level: str) -> list[keras.Layer]:
    """What makes up the whole network, one after the other: preprocessing, the frozen layers, the level on top of them."""
    size, name, unfreeze = params.image_size, params.backbone, params.finetune.unfreeze
    network = backbone.load(name, WEIGHTS, size)
    frozen = backbone.below(network, unfreeze) if level == "finetune" else network
    trained = keras.saving.load_model(model_of(level), compile=False)
    return [preprocessing.preprocessing(name, params.preprocessing), frozen, trained]


def to_keras(parts: list[keras.Layer], size: int, crops: int) -> keras.Model:
    """Join the parts into one model, from uint8 pixels to every class' probability, the mean over the crops that `images.cropped`
    would cut, a sigmoid's other class in front."""
    side = images.whole(size, crops)
    pixels = keras.Input((side, side, 3), name="pixels", dtype="uint8")
    outputs = []
    for number, (top, left) in enumerate(images.corners(size, crops)):
        margins = (top, side - size - top), (left, side - size - left)
        output = keras.layers.Cropping2D(margins, name=f"crop{number}")(pixels)
        output = keras.layers.Rescaling(1.0, name=f"float{number}")(output)
        for part in parts:
            output = part(output)
        outputs.append(output)
    output = keras.layers.Average(name="mean")(outputs) if crops > 1 else outputs[0]
    if output.shape[-1] == 1:
        output = keras.layers.Concatenate(name="probabilities")([1 - output, output])
    return keras.Model(pixels, output, name="classifier")
