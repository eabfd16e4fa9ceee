"""VGG16 in an exported classifier as `stages.frozen` computes it: its convolutions by ncnn, the same to the sixth digit.

ONNX Runtime's convolutions are near what a core can multiply at all. Only fewer multiplications can be faster, which are Winograd's
(`layers.ncnn_network`).
"""

import json
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stages.core.params import BLOCKS
from stages.frozen import layers
from stages.pictures import images
from stages.shards import model_file

LAST = f"{BLOCKS[-1]}_pool"


def of_model(model: onnx.ModelProto) -> Callable[[np.ndarray], np.ndarray] | None:
    """What computes every class' probability for uint8 photos of shape (n, side, side, 3); None where it is another network, or none
    in float32."""
    graph, about = model.graph, json.loads({entry.key: entry.value for entry in model.metadata_props}["about"])
    constants = {tensor.name: tensor for tensor in graph.initializer}
    wanted = [f"{block}_conv{number}" for block, count in layers.CONVOLUTIONS.items() for number in range(1, count + 1)]
    names = {name: [f"{name}_sum_{part}" for part in ("kernel", "bias")] for name in wanted}
    if about.get("backbone") != "VGG16" or not all(part in constants for parts in names.values() for part in parts):
        return None
    weights = {name: tuple(numpy_helper.to_array(constants[part]) for part in parts) for name, parts in names.items()}
    channels = 3
    for name, (kernel, bias) in weights.items():  # ncnn looks at no shapes
        filters = layers.FILTERS[name.partition("_")[0]]
        if kernel.shape != (filters, channels, 3, 3) or bias.shape != (filters,) or {kernel.dtype, bias.dtype} != {np.dtype("f4")}:
            raise ValueError(name)
        channels = filters
    network = layers.ncnn_network(weights, BLOCKS)
    nodes = list(graph.node)
    rest = nodes[[node.name for node in nodes].index(LAST) + 1 :]
    read = {name for node in rest for name in node.input}
    maps = helper.make_tensor_value_info(LAST, TensorProto.FLOAT, ["n", layers.FILTERS[BLOCKS[-1]], "height", "width"])
    kept = [tensor for name, tensor in constants.items() if name in read]
    top = helper.make_model(
        helper.make_graph(rest, "classifier", [maps], graph.output, kept),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    rest, crops, side = model_file.session(top.SerializeToString()), about.get("crops", 1), about["image_size"]
    size = next(size for size in range(side, 0, -1) if images.whole(size, crops) == side)

    def run(photos: np.ndarray) -> np.ndarray:
        cut = [photos[:, top : top + size, left : left + size] for top, left in images.corners(size, crops)]
        maps = network(images.preprocess(np.concatenate(cut), about["preprocessing"]))
        return rest.run(None, {LAST: np.ascontiguousarray(maps.transpose(0, 3, 1, 2))})[0]

    return run
