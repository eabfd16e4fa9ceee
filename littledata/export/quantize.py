"""The exported classifier in int8: a quarter of its size, and faster where the processor multiplies bytes.

Static quantisation by ONNX Runtime: each weight and each layer's output as 8 bits, scaled by what photos of the training
split give. What little costs nothing stays in float32 (`plan`). Writes models/classifier.int8.onnx, and metrics/int8.csv: its
scores on test photos beside those of float32, on what share of them both say the same class, and which level both are and why.
"""

import itertools
import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from littledata.core import files
from littledata.core.paths import CLASSIFIER
from littledata.pictures import deep, images
from littledata.splits import dataset

FLOAT32, INT8 = CLASSIFIER, CLASSIFIER.with_suffix(".int8.onnx")
SCORES = Path("metrics/int8.csv")
CALIBRATION = 64  # photos
BATCH_SIZE = 4  # crops; with 16 the calibration took 4 GB
POOLING = ("GlobalAveragePool", "GlobalMaxPool", "Transpose")  # what the classifier begins with; Transpose: it is flattened
FEW, MANY = 1_000, 500_000  # weights of a layer; so many are 2 MB as float32
WHOLE = [{"axis": 0, "quant_type": QuantType.QInt8, "reduce_range": False}]  # 8 bits a weight, a scale for each channel


def batches(photos: Sequence[dataset.Photo], about: dict) -> Iterator[np.ndarray]:
    """uint8 pixels of shape (n, size, size, 3), as the classifier that is `about` reads them."""
    size, fit, step = about["image_size"], about["fit"], max(1, BATCH_SIZE // about["crops"])
    depth = deep.of_json(about.get("depth"))
    for start in range(0, len(photos), step):
        yield np.stack([images.square(photo.read(), size, fit, depth) for photo in photos[start : start + step]])


class Photos(CalibrationDataReader):
    """What the scales are taken from: as many photos of each class."""

    def __init__(self, photos: Sequence[dataset.Photo], about: dict) -> None:
        classes = [[photo for photo in photos if photo.kind == kind] for kind in dataset.class_names(photos)]
        mixed = [photo for photo in itertools.chain.from_iterable(itertools.zip_longest(*classes)) if photo]
        self.batches = batches(mixed[:CALIBRATION], about)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(({"pixels": pixels} for pixels in self.batches), None)


def folded(path: Path, to: Path) -> onnx.ModelProto:
    """Write a classifier with batch normalisation as part of the convolutions before it, which else would stay in float32, with
    each convolution's output as 8 bits before and after it. VGG16, which has none, stays as it is."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(to)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(to)


def plan(graph: onnx.GraphProto) -> tuple[list[str], list[str]]:
    """What differs from the rest: the nodes that are left in float32, and the kernels of depthwise convolutions.

    In float32 is the classifier that follows the last convolution, less its large layers: in 8 bits the logits of
    EfficientNet-Lite0's were wrong by as much as they differ, and no probability lay between two of 256. So are the convolutions
    with next to no weights, which come first: 7 bits of 1,400 weights made a third of what was wrong after them.
    """
    weights = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    convolved, after, kept, depthwise = set(), set(), [], []
    for node in reversed(graph.node):
        if node.op_type == "Conv" or convolved & {*node.output}:
            convolved |= {*node.input}
    for node in graph.node:
        count = sum(weights.get(name, 0) for name in node.input[1:])
        if node.op_type == "Conv":
            if any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute):
                depthwise.append(node.input[1])
            elif count < FEW:
                kept.append(node.name)
        elif after & {*node.input} or (node.op_type in POOLING and not convolved & {*node.output}):
            after |= {*node.output}
            if count < MANY:
                kept.append(node.name)
    return kept, depthwise


def quantize(source: Path, to: Path, photos: CalibrationDataReader) -> None:
    """Write a float32 classifier in int8, its scales taken from photos."""
    logging.getLogger().setLevel(logging.ERROR)  # it asks for its own preprocessing, the half of which `folded` is
    with tempfile.TemporaryDirectory() as folder:
        kept, depthwise = plan(folded(source, whole := Path(folder, "folded.onnx")).graph)
        quantize_static(
            whole,
            made := Path(folder, "int8.onnx"),
            photos,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            nodes_to_exclude=kept,
            reduce_range=True,  # 7 bits a weight: without VNNI two products of 8 bits overflow where they are added
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": dict.fromkeys(depthwise, WHOLE)},  # no products are added in pairs there
        )
        with files.whole(to) as file:
            file.write(made.read_bytes())
