"""VGG16's convolutions in Keras, whole or some blocks of them.

Blocks and layers go by name (`block5_conv1`), never by position: counting layers is how copied blog code
freezes the wrong ones.
"""

import hashlib
import os
from collections.abc import Sequence

import keras
import numpy as np
from keras.applications import vgg16

# sha256 over each layer's kernel (HWIO) and bias as little-endian float32, in the order of the network.
WEIGHTS_DIGEST = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"


def build(image_size: int | None = None) -> keras.Model:
    """VGG16 without its classifier and without weights, for photos of `image_size` px (None: any size)."""
    return vgg16.VGG16(include_top=False, weights=None, input_shape=(image_size, image_size, 3))


def load(weights: str | os.PathLike, image_size: int | None = None) -> keras.Model:
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


def part(model: keras.Model, blocks: Sequence[str], regularizer: keras.Regularizer | None = None) -> keras.Model:
    """Consecutive blocks of VGG16 as a network of their own: what the block before puts out in, their output out.

    The layers are copies with the same names and weights, so that training them leaves `model` as it was;
    `regularizer` is their kernels'.
    """
    layers = [layer for layer in model.layers if layer.name.partition("_")[0] in blocks]
    output = inputs = keras.Input(layers[0].input.shape[1:], name="activations")
    for layer in layers:
        config = layer.get_config()
        if layer.weights:
            config["kernel_regularizer"] = regularizer
        copy = type(layer).from_config(config)
        output = copy(output)
        copy.set_weights(layer.get_weights())
    return keras.Model(inputs, output, name="part")
