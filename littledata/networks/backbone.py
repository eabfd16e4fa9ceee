"""The pretrained network: EfficientNet-Lite0, or any of `keras.applications` by its name, whole or cut in two.

A layer's name says where it is cut (`block5` for VGG16, `conv5_block3` for ResNet50), never a position: copied blog code counts
layers and freezes the wrong ones.
"""

import hashlib
import os
import sys
from collections.abc import Sequence

import numpy as np

from littledata.core.errors import UserError
from littledata.networks import keras, lite

# sha256 over each layer's kernel (HWIO) and bias as little-endian float32, in the order of the network.
VGG16_DIGEST = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
KERNELS = {"kernel_regularizer", "depthwise_regularizer", "pointwise_regularizer"}
SHOWN = 8  # places where a network can be cut
FIXED = (keras.layers.BatchNormalization, keras.layers.DepthwiseConv2D)  # above the cut as well
DEPTHWISE = (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


def build(name: str, image_size: int | None = None) -> keras.Model:
    """A network without its classifier and without weights, for photos of `image_size` px (None: any size)."""
    if name == lite.NAME:
        return lite.build(image_size)
    return getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(image_size, image_size, 3))


def load(name: str, weights: str | os.PathLike, image_size: int | None = None) -> keras.Model:
    """`build(name, image_size)` with the ImageNet weights of the `pretrained` stage."""
    model = build(name, image_size)
    model.load_weights(weights)
    return model


def preprocess(name: str, pixels: np.ndarray) -> np.ndarray:
    """uint8 RGB pixels (..., 3) as the float32 that a network's weights were trained with, as Keras says it."""
    if name == lite.NAME:
        return lite.preprocess(pixels)
    module = sys.modules[getattr(keras.applications, name).__module__]
    return np.asarray(module.preprocess_input(pixels.astype(np.float32)))


def digest(model: keras.Model) -> str:
    """The weights' sha256, as `VGG16_DIGEST` has it."""
    sha256 = hashlib.sha256()
    for weight in model.get_weights():
        sha256.update(np.ascontiguousarray(weight, "<f4").tobytes())
    return sha256.hexdigest()


def by_xla(model: keras.Model) -> bool:
    """Whether XLA trains a network faster than TensorFlow's own kernels do: not where it has depthwise convolutions.

    VGG16's last block takes two thirds of the time by XLA, EfficientNet-Lite0's last ones 14 times as much.
    """
    return not any(isinstance(layer, DEPTHWISE) for layer in model.layers)


def _tensors(ends) -> list[keras.KerasTensor]:
    return ends if isinstance(ends, list) else [ends]


def _into(model: keras.Model, first: int) -> list[keras.KerasTensor]:
    """The tensors that layers before number `first` put out and layers from there on read."""
    put_out = {id(tensor) for layer in model.layers[first:] for tensor in _tensors(layer.output)}
    read = (tensor for layer in model.layers[first:] for tensor in _tensors(layer.input))
    return list({id(tensor): tensor for tensor in read if id(tensor) not in put_out}.values())


def _cut(model: keras.Model, unfreeze: Sequence[str]) -> keras.KerasTensor:
    """What goes from the frozen layers into the first one whose name is among `unfreeze` or begins so, and all after it.

    Raises
    ------
    UserError
        Where no layer has such a name, or more than one tensor goes across; it names places that will do.
    """
    unfrozen = [any(layer.name == name or layer.name.startswith(f"{name}_") for name in unfreeze) for layer in model.layers]
    if any(unfrozen[1:]) and len(across := _into(model, unfrozen.index(True))) == 1 and not unfrozen[0]:
        return across[0]
    places = [layer.name for number, layer in enumerate(model.layers) if layer.weights and len(_into(model, number)) == 1]
    raise UserError(
        f"finetune.unfreeze is [{', '.join(unfreeze)}]: {model.name} can't be cut there. It can before one of its layers "
        f"{', '.join(places[-SHOWN:])}, by the whole name or what it begins with up to a _."
    )


def below(model: keras.Model, unfreeze: Sequence[str]) -> keras.Model:
    """The frozen layers: photos in, what the first unfrozen layer reads out; the whole network where none is unfrozen."""
    return keras.Model(model.input, _cut(model, unfreeze)) if unfreeze else model


def above(model: keras.Model, unfreeze: Sequence[str], regularizer: keras.Regularizer | None = None) -> keras.Model:
    """The unfrozen layers as a network of their own.

    They are copies with the same names and weights, so that training them leaves `model` as it was; `regularizer` is
    their kernels'. Batch normalisation stays as it was pretrained: a few hundred photos would spoil its statistics. So do
    depthwise kernels: they are a fiftieth of the weights, and their gradients a quarter of a step's time.
    """

    def copy(layer):
        config = layer.get_config()
        config |= dict.fromkeys(config.keys() & KERNELS, regularizer)
        copied = type(layer).from_config(config)
        copied.trainable = not isinstance(layer, FIXED)
        return copied

    original = keras.Model(_cut(model, unfreeze), model.output)
    inputs = keras.Input(original.input.shape[1:], name="activations")
    copied = keras.models.clone_model(original, inputs, clone_function=copy)
    copied.set_weights(original.get_weights())
    return keras.Model(inputs, copied.output, name="part")
