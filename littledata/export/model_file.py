"""A model file, looked over before ONNX Runtime runs it: it may come from anywhere."""

import math
from pathlib import Path

import onnx
from onnx import TensorProto, helper, shape_inference

from littledata.core.errors import UserError

OPERATORS = {  # what to_onnx writes, or wrote once, and in int8 quantize
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "DequantizeLinear", "Flatten", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Mul", "Pad", "QuantizeLinear", "ReduceMean", "Relu", "Reshape", "Sigmoid",
    "Slice", "Softmax", "Sub", "Transpose",
}  # fmt: skip
SHAPES = 100  # numbers; a constant with more of them says nothing of shapes
MOST_BYTES = 2**30  # of the file; the largest network here takes half of it
MOST_NUMBERS = 2**26  # that a layer puts out for a picture: of VGG16's largest, at 1,000 px


def check(path: Path) -> None:
    """Look at a file that may have nothing but what this project exports: one graph of known operators, whose constants all lie in
    the file, and whose layers fit together and into memory.

    Raises
    ------
    UserError
        Naming the first thing that is not so.
    """
    try:
        problem = _problem(path)
    except Exception as error:  # protobuf's and ONNX's own, which differ from version to version; names that are no text
        problem = str(error).partition("\n")[0] or type(error).__name__
    if problem:
        raise UserError(f"{path} is no classifier that this project exported ({' '.join(problem.split())}).")


def _problem(path: Path) -> str | None:
    if path.stat().st_size > MOST_BYTES:
        return f"it has {path.stat().st_size / 1e6:.0f} MB"
    model = onnx.load_model(path, load_external_data=False)
    graph = model.graph
    if model.functions or model.training_info or graph.sparse_initializer:
        return "functions, training or sparse constants"
    for node in graph.node:
        if node.domain or node.op_type not in OPERATORS:
            return f"the operator {f'{node.domain}.{node.op_type}'.removeprefix('.')!r}"
        for attribute in node.attribute:
            if any(field.name in ("g", "graphs", "t", "tensors", "ref_attr_name") for field, _ in attribute.ListFields()):
                return f"the attribute {attribute.name!r} of {node.op_type}"
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            return f"the constant {tensor.name!r} in another file"
        if math.prod(tensor.dims) > SHAPES:  # all that is wanted of it is its shape
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    small = [tensor for tensor in graph.initializer if math.prod(tensor.dims) <= SHAPES]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(small)
    onnx.checker.check_model(model)
    for shape in shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.value_info:
        sides = [size.dim_value for size in shape.type.tensor_type.shape.dim]
        # The first of them is the number of pictures, which nobody knows yet.
        if not 0 <= math.prod(sides[1:]) <= MOST_NUMBERS:
            return f"{shape.name!r} takes {sides} numbers a picture"
    return None
