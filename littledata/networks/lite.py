"""EfficientNet-Lite0, which `keras.applications` doesn't have: EfficientNet-B0 without squeeze-and-excitation and with ReLU6, for
phones (Tan and Le, "EfficientNet", ICML 2019; Google's `tpu/models/official/efficientnet/lite`).

It takes 0.39 billion multiplications a photo of 224 px, where VGG16 takes 15.5 billion.
"""

from collections.abc import Mapping

import numpy as np

from littledata.networks import keras

layers = keras.layers
NAME = "EfficientNetLite0"
STEM, TOP = 32, 1280  # filters
# Of each block: the side of its depthwise kernels, the stride of its first layer, how many times channels are expanded, its
# filters, and how many such layers there are: block2a, block2b, ...
BLOCKS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
NORMALISATION = ("weight", "bias", "running_mean", "running_var")  # of the layer that followed each convolution in training
EPSILON = 1e-3


def build(image_size: int | None = None) -> keras.Model:
    """The network without its classifier and without weights, for photos of `image_size` px (None: any size).

    Batch normalisation, which stays as it was pretrained, is part of the convolutions: without it a step of level 3 takes a
    quarter less time.
    """

    def convolved(x, name, layer, activated=True, **options):
        x = layer(padding="same", name=f"{name}_conv", **options)(x)
        return layers.ReLU(6.0, name=f"{name}_relu6")(x) if activated else x

    def convolution(x, name, filters, side=1, stride=1, **options):
        return convolved(x, name, layers.Conv2D, filters=filters, kernel_size=side, strides=stride, **options)

    inputs = keras.Input((image_size, image_size, 3), name="photo")
    x = convolution(inputs, "stem", STEM, 3, 2)
    for name, side, stride, expansion, filters in cells():
        read = x
        if expansion > 1:
            x = convolution(x, f"{name}_expand", expansion * x.shape[-1])
        x = convolved(x, f"{name}_depthwise", layers.DepthwiseConv2D, kernel_size=side, strides=stride)
        x = convolution(x, f"{name}_project", filters, activated=False)
        if x.shape == read.shape:
            x = layers.Add(name=f"{name}_add")([x, read])
    return keras.Model(inputs, convolution(x, "top", TOP), name="efficientnet_lite0")


def cells():
    """Every cell's name, kernels' side, stride, expansion and filters."""
    for number, (side, stride, expansion, filters, repeats) in enumerate(BLOCKS, start=1):
        for repeat in range(repeats):
            yield f"block{number}{'abcd'[repeat]}", side, stride if repeat == 0 else 1, expansion, filters


def set_weights(model: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Give the network the tensors that PyTorch's edition has by the names in its file."""
    names = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}
    for number, (name, *_) in enumerate(cells()):
        for step, normalisation in ("expand", 0), ("depthwise", 1), ("project", 2):
            names[f"{name}_{step}"] = f"_blocks.{number}._{step}_conv", f"_blocks.{number}._bn{normalisation}"
    for layer in model.layers:
        name, _, kind = layer.name.rpartition("_")
        if kind != "conv":
            continue
        convolution, normalisation = names[name]
        kernel = tensors[f"{convolution}.weight"]  # OIHW, a depthwise one's O is Keras' I
        gamma, beta, mean, variance = (tensors[f"{normalisation}.{part}"] for part in NORMALISATION)
        factor = gamma / np.sqrt(variance + EPSILON)
        axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
        layer.set_weights([(kernel * factor[:, None, None, None]).transpose(axes), beta - mean * factor])


def preprocess(pixels: np.ndarray) -> np.ndarray:
    """uint8 RGB pixels (..., 3) as the float32 that the weights were trained with."""
    return (pixels.astype(np.float32) - 127) / 128
