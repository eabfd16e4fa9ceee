"""VGG16's convolutions, cut in two: the frozen blocks below the cut and the rest above it.

Blocks and layers go by name (`block5_conv1`), never by position: counting layers is how copied blog code
freezes the wrong ones.
"""

import hashlib
import os
from collections.abc import Sequence

import keras
import numpy as np
from keras.applications import vgg16

from stages.lib.params import BLOCKS

# sha256 over each layer's kernel (HWIO) and bias as little-endian float32, in the order of the network.
WEIGHTS_DIGEST = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"


def build(image_size: int | None = None) -> keras.Model:
    """VGG16 without its classifier and without weights, for photos of `image_size` px (None: any size)."""
    return vgg16.VGG16(include_top=False, weights=None, input_shape=(image_size, image_size, 3))


def load(weights: str | os.PathLike, image_size: int) -> keras.Model:
    """`build(image_size)` with the ImageNet weights of the `pretrained` stage."""
    model = build(image_size)
    model.load_weights(weights)
    return model


def digest(model: keras.Model) -> str:
    """The weights' sha256, as `WEIGHTS_DIGEST` has it."""
    sha256 = hashlib.sha256()
    for weight in model.get_weights():
        sha256.update(np.ascontiguousarray(weight, "<f4").tobytes())
    return sha256.hexdigest()


def preprocess(pixels: np.ndarray, how: str) -> np.ndarray:
    """uint8 RGB pixels (..., 3) as the float32 that the network reads.

    `vgg16`: what the weights were trained with, BGR less the ImageNet mean. `rescale`: the blog's 1/255.
    """
    if how == "rescale":
        return pixels.astype(np.float32) / 255
    return vgg16.preprocess_input(pixels.astype(np.float32))


def cut_layer(unfreeze: Sequence[str]) -> str:
    """The last frozen layer: the pooling of the block before the first one in `unfreeze`."""
    return f"{BLOCKS[len(BLOCKS) - len(unfreeze) - 1]}_pool"


def below(model: keras.Model, cut: str) -> keras.Model:
    """The frozen part: photos in, the output of the layer `cut` out."""
    return keras.Model(model.input, model.get_layer(cut).output, name="frozen")


def above(model: keras.Model, cut: str, regularizer: keras.Regularizer | None = None) -> keras.Model:
    """The rest, with its own input: the output of the layer `cut` in, bottleneck features out.

    The layers are copies with the same names and weights, so that training them leaves `model` as it was;
    `regularizer` is their kernels'.
    """
    names = [layer.name for layer in model.layers]
    output = inputs = keras.Input(model.get_layer(cut).output.shape[1:], name="activations")
    for name in names[names.index(cut) + 1 :]:
        layer = model.get_layer(name)
        config = layer.get_config()
        if layer.weights:
            config["kernel_regularizer"] = regularizer
        copy = type(layer).from_config(config)
        output = copy(output)
        copy.set_weights(layer.get_weights())
    return keras.Model(inputs, output, name="unfrozen")
