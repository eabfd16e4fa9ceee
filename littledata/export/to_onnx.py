"""A Keras network as ONNX: the layers of this project's networks and of those in `params.BACKBONES`.

Photos lie channels first, as ONNX has them, from the first layer on. tf2onnx, which Keras' own export takes, numbers what
it writes by what ran before, so that the bytes don't repeat, and loses EfficientNet's constants.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from littledata.networks import keras
from littledata.pictures import images

layers = keras.layers


def padding(layer: keras.Layer, size: Sequence[int]) -> dict:
    """The padding of a convolution or pooling over so many pixels, as attributes of its node."""
    if layer.padding == "valid":
        return {}
    if tuple(layer.strides) == (1, 1) and all(side % 2 for side in size):
        return {"pads": [side // 2 for side in size] * 2}
    return {"auto_pad": "SAME_UPPER"}


class Graph:
    """An ONNX graph as it grows; every method adds a step and returns the name of what it puts out."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array, dtype=np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def add(self, operator: str, name: str, *inputs: str, **attributes) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def activation(self, function: str, name: str, x: str) -> str:
        """An activation by its name in Keras."""
        match function:
            case "linear":
                return x
            case "relu" | "sigmoid" | "softmax":
                return self.add(function.capitalize(), name, x)
            case "silu":
                return self.add("Mul", name, x, self.add("Sigmoid", f"{name}_gate", x))
        raise TypeError(f"{name}: no network here has the activation {function}")

    def convolution(self, name: str, x: str, kernel: np.ndarray, bias: Sequence, layer: keras.Layer, group: int) -> str:
        """For a kernel of shape (out, in, height, width), and one bias or none."""
        weights = [self.constant(f"{name}_kernel", kernel), *(self.constant(f"{name}_bias", array) for array in bias)]
        return self.add("Conv", name, x, *weights, group=group, strides=list(layer.strides), **padding(layer, kernel.shape[2:]))

    def affine(self, name: str, x: str, scale, offset) -> str:
        """x * scale + offset, channel by channel."""
        # Not NAME_scale: so ONNX Runtime's quantisation calls its own.
        scale, offset = (np.reshape(np.asarray(value), (-1, 1, 1)) for value in (scale, offset))
        product = self.add("Mul", f"{name}_product", x, self.constant(f"{name}_factor", scale))
        return self.add("Add", name, product, self.constant(f"{name}_offset", offset))

    def layer(self, layer: keras.Layer, inputs: list[str]) -> str:
        """
        Raises
        ------
        TypeError
            For a layer that none of the networks here has.
        """
        name, x = layer.name, inputs[0]
        match layer:
            case layers.SeparableConv2D():
                depth, point, *bias = layer.get_weights()
                x = self.convolution(f"{name}_depth", x, depth.transpose(2, 3, 0, 1), [], layer, depth.shape[2])
                kernel = self.constant(f"{name}_kernel", point.transpose(3, 2, 0, 1))
                x = self.add("Conv", f"{name}_sum", x, kernel, *(self.constant(f"{name}_bias", array) for array in bias))
                return self.activation(layer.activation.__name__, name, x)
            case layers.DepthwiseConv2D() | layers.Conv2D():
                kernel, *bias = layer.get_weights()
                each = isinstance(layer, layers.DepthwiseConv2D)  # channel on its own
                kernel = kernel.transpose(2, 3, 0, 1) if each else kernel.transpose(3, 2, 0, 1)
                x = self.convolution(f"{name}_sum", x, kernel, bias, layer, len(kernel) if each else layer.groups)
                return self.activation(layer.activation.__name__, name, x)
            case layers.Dense():
                kernel, bias = (self.constant(f"{name}_{what}", w) for what, w in zip(("kernel", "bias"), layer.get_weights()))
                return self.activation(layer.activation.__name__, name, self.add("Gemm", f"{name}_sum", x, kernel, bias))
            case layers.BatchNormalization():
                mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
                gamma = np.asarray(layer.gamma) if layer.scale else np.ones_like(mean)
                beta = np.asarray(layer.beta) if layer.center else np.zeros_like(mean)
                arrays = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
                constants = [self.constant(f"{name}_{what}", array) for what, array in arrays.items()]
                return self.add("BatchNormalization", name, x, *constants, epsilon=layer.epsilon)
            case layers.Normalization():
                deviation = np.maximum(np.sqrt(np.asarray(layer.variance)), keras.backend.epsilon())
                return self.affine(name, x, 1 / deviation, -np.asarray(layer.mean) / deviation)
            case layers.Rescaling():
                return self.affine(name, x, np.float32(layer.scale), np.float32(layer.offset))
            case layers.ReLU(max_value=None):
                return self.add("Relu", name, x)
            case layers.ReLU():
                return self.add("Clip", name, x, self.constant(f"{name}_low", 0), self.constant(f"{name}_high", layer.max_value))
            case layers.Activation():
                return self.activation(layer.activation.__name__, name, x)
            case layers.ZeroPadding2D():
                (top, bottom), (left, right) = layer.padding
                return self.add("Pad", name, x, self.constant(f"{name}_pads", [0, 0, top, left, 0, 0, bottom, right], np.int64))
            case layers.MaxPooling2D() | layers.AveragePooling2D():
                operator, size = type(layer).__name__.removesuffix("ing2D"), list(layer.pool_size)
                return self.add(operator, name, x, kernel_shape=size, strides=list(layer.strides), **padding(layer, size))
            case layers.GlobalAveragePooling2D():
                return self.add("Flatten", name, self.add("GlobalAveragePool", f"{name}_map", x))
            case layers.Flatten():
                return self.add("Flatten", name, self.add("Transpose", f"{name}_channels_last", x, perm=[0, 2, 3, 1]))
            case layers.Add() | layers.Multiply():
                return self.add(type(layer).__name__[:3], name, *inputs)
            case layers.Concatenate():
                return self.add("Concat", name, *inputs, axis=1)
            case layers.Reshape(target_shape=(1, 1, _)):  # squeeze and excitation's factors of channels
                return self.add("Reshape", name, x, self.constant(f"{name}_shape", [0, -1, 1, 1], np.int64))
            case layers.Dropout():
                return x
        raise TypeError(f"{name} is a {type(layer).__name__}, which no network here has")

    def network(self, model: keras.Model, x: str) -> str:
        """All layers of a network with one input, `x`, and one output."""
        known = {id(model.input): x}
        for layer in model.layers:
            if not isinstance(layer, layers.InputLayer):
                read = layer.input if isinstance(layer.input, list) else [layer.input]
                known[id(layer.output)] = self.layer(layer, [known[id(tensor)] for tensor in read])
        return known[id(model.output)]

    def model(self, read: onnx.ValueInfoProto, written: onnx.ValueInfoProto) -> onnx.ModelProto:
        """The whole of it, checked, between its input and its output."""
        made = helper.make_graph(self.nodes, "classifier", [read], [written], self.constants)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def features(model: keras.Model) -> onnx.ModelProto:
    """A network from float32 pictures of shape (n, height, width, channels) to its output of such a shape."""
    graph = Graph()
    x = graph.network(model, graph.add("Transpose", "channels_first", "pictures", perm=[0, 3, 1, 2]))
    x = graph.add("Transpose", "features", x, perm=[0, 2, 3, 1])
    pictures = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, model.input_shape)
    return graph.model(pictures, helper.make_tensor_value_info(x, TensorProto.FLOAT, model.output_shape))


def convert(parts: Sequence[keras.Layer], size: int, crops: int, about: Mapping) -> onnx.ModelProto:
    """Layers and networks, one after the other, for inputs of `size` px, from uint8 pixels of shape (n, side, side, 3) to
    every class' probability, the mean over the crops that `images.cropped` would cut; a sigmoid gets the other class in
    front. `about` goes into the metadata as JSON."""
    graph = Graph()
    pixels = graph.add("Cast", "float", "pixels", to=TensorProto.FLOAT)
    x = graph.add("Transpose", "channels_first", pixels, perm=[0, 3, 1, 2])
    if crops > 1:  # one batch of them all, crop by crop
        axes, cut = graph.constant("crop_axes", [2, 3], np.int64), []
        for number, start in enumerate(images.corners(size, crops)):
            ends = {"start": start, "end": [edge + size for edge in start]}
            ends = [graph.constant(f"crop{number}_{name}", edges, np.int64) for name, edges in ends.items()]
            cut.append(graph.add("Slice", f"crop{number}", x, *ends, axes))
        x = graph.add("Concat", "crops", *cut, axis=0)
    for part in parts:
        x = graph.network(part, x) if isinstance(part, keras.Model) else graph.layer(part, [x])
    classes = parts[-1].output.shape[-1]
    if classes == 1:
        other = graph.add("Sub", "other", graph.constant("one", 1), x)
        x, classes = graph.add("Concat", "probabilities", other, x, axis=1), 2
    if crops > 1:
        x = graph.add("Reshape", "by_crop", x, graph.constant("by_crop_shape", [crops, -1, classes], np.int64))
        x = graph.add("ReduceMean", "mean", x, axes=[0], keepdims=0)
    side = images.whole(size, crops)
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", side, side, 3])
    model = graph.model(pixels, helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", classes]))
    helper.set_model_props(model, {"about": json.dumps(about)})
    return model
