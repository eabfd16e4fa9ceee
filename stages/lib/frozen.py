"""Layers of VGG16 that stay as they are, run as fast as the machine allows: by ONNX Runtime on a CPU, by Keras on a GPU."""

from collections.abc import Callable

import keras
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from stages.lib import environment


def runner(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """What computes the output of `vgg16.below` or `vgg16.above` for a batch."""
    return network.predict_on_batch if keras.distribution.list_devices("gpu") else onnx_runtime(network)


def onnx_runtime(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """`runner` on a CPU.

    ONNX Runtime keeps its arrays in the order that the processor's vectors like from the first convolution to the last;
    on two AVX2 cores it takes four fifths of the time of TensorFlow with XLA, in float32 as well.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = environment.THREADS
    session = onnxruntime.InferenceSession(to_onnx(network).SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"input": batch})[0]


def to_onnx(network: keras.Model) -> onnx.ModelProto:
    """A chain of padded 3x3 convolutions with ReLU and of 2x2 poolings as an ONNX model, channels last at both ends.

    Raises
    ------
    TypeError
        For a layer that VGG16 doesn't have.
    """
    nodes, weights, last = [helper.make_node("Transpose", ["input"], ["first"], perm=[0, 3, 1, 2])], [], "first"
    for layer in network.layers:
        name = layer.name
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            weights.append(numpy_helper.from_array(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), f"{name}_kernel"))
            weights.append(numpy_helper.from_array(bias, f"{name}_bias"))
            nodes.append(helper.make_node("Conv", [last, f"{name}_kernel", f"{name}_bias"], [f"{name}_sum"], pads=[1] * 4))
            nodes.append(helper.make_node("Relu", [f"{name}_sum"], [name]))
        elif isinstance(layer, keras.layers.MaxPooling2D):
            nodes.append(helper.make_node("MaxPool", [last], [name], kernel_shape=[2, 2], strides=[2, 2]))
        elif isinstance(layer, keras.layers.InputLayer):
            continue
        else:
            raise TypeError(f"{name} is a {type(layer).__name__}: no layer of VGG16")
        last = name
    nodes.append(helper.make_node("Transpose", [last], ["output"], perm=[0, 2, 3, 1]))
    ends = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape[1:]])
        for name, shape in (("input", network.input_shape), ("output", network.output_shape))
    )
    graph = helper.make_graph(nodes, "frozen", *([end] for end in ends), weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
