"""The classifier as a file that needs nothing else: pixels in, a probability for every class out, preprocessing inside.

Level 3 with the frozen blocks below it. Writes models/classifier.onnx, which `predict` runs by ONNX Runtime, and
models/classifier.keras. Both read photos of shape (n, height, width, 3), uint8 RGB, resized as `images.resize` does, and
both say what they are: `about` in the ONNX file's metadata, about.json in the other one, which is a zip.

They name the photos, the model and its metrics by content, not the Git revision: that of the commit which has them in
its dvc.lock can't be known before they are written. `git log -S` with dvc.lock's md5 of the file finds it.
"""

import json
from pathlib import Path

from stages.lib import stage, quiet  # isort: skip: first the clock starts, then TensorFlow, quietly
import keras
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stages.lib import chain, dataset, files, images, models, vgg16
from stages.lib.params import BLOCKS

WEIGHTS = Path("models/vgg16.weights.h5")
MODEL = Path("models/finetune.keras")
METRICS = Path("metrics/metrics.json")
SOURCE = Path("data/raw/source.json")
ONNX = Path("models/classifier.onnx")
KERAS = Path("models/classifier.keras")


def whole(params) -> list[keras.Layer]:
    """The whole network, from pixels to the output layer."""
    network = vgg16.load(WEIGHTS)
    frozen = list(chain.layers_of(vgg16.part(network, BLOCKS[: -len(params["finetune"]["unfreeze"])])))
    if params["preprocessing"] == "rescale":
        preprocessing = keras.layers.Rescaling(1 / 255, name="preprocessing")
    else:
        # The weights read blue, green, red: the first kernel is turned around instead of every photo.
        kernel, bias = frozen[0].get_weights()
        frozen[0].set_weights([kernel[:, :, ::-1], bias])
        preprocessing = keras.layers.Rescaling(1.0, [-mean for mean in reversed(images.MEAN_BGR)], name="preprocessing")
    return [preprocessing, *frozen, *chain.layers_of(keras.saving.load_model(MODEL, compile=False))]


def to_keras(layers: list[keras.Layer], size: int) -> keras.Model:
    """The chain as a model whose output has every class, with a sigmoid's other class in front."""
    output = inputs = keras.Input((size, size, 3), name="pixels", dtype="uint8")
    for layer in layers:
        output = layer(output)
    if output.shape[-1] == 1:
        output = keras.layers.Concatenate(name="probabilities")([1 - output, output])
    return keras.Model(inputs, output, name="classifier")


def to_onnx(layers: list[keras.Layer], size: int, classes: int, about: dict) -> onnx.ModelProto:
    """`to_keras` as an ONNX model.

    Raises
    ------
    TypeError
        For a layer that none of the networks here has.
    """
    nodes, constants = [], []

    def constant(name: str, array) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def add(operator: str, name: str, *inputs: str, **attributes) -> str:
        nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    last = add("Transpose", "channels_first", add("Cast", "float", "pixels", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    for layer in layers:
        name = layer.name
        match layer:
            case keras.layers.Rescaling():
                scaled = add("Mul", f"{name}_scaled", last, constant(f"{name}_scale", layer.scale))
                last = add("Add", name, scaled, constant(f"{name}_offset", np.reshape(layer.offset, (-1, 1, 1))))
            case keras.layers.Conv2D():
                kernel, bias = layer.get_weights()
                kernel, bias = constant(f"{name}_kernel", kernel.transpose(3, 2, 0, 1)), constant(f"{name}_bias", bias)
                last = add("Relu", name, add("Conv", f"{name}_sum", last, kernel, bias, pads=[1] * 4))
            case keras.layers.MaxPooling2D():
                last = add("MaxPool", name, last, kernel_shape=[2, 2], strides=[2, 2])
            case keras.layers.GlobalAveragePooling2D() | keras.layers.GlobalMaxPooling2D():
                average = isinstance(layer, keras.layers.GlobalAveragePooling2D)
                pooled = add("GlobalAveragePool" if average else "GlobalMaxPool", f"{name}_map", last)
                last = add("Flatten", name, pooled)
            case keras.layers.Flatten():
                last = add("Flatten", name, add("Transpose", f"{name}_channels_last", last, perm=[0, 2, 3, 1]))
            case keras.layers.Dense():
                kernel, bias = (constant(f"{name}_{part}", array) for part, array in zip(("kernel", "bias"), layer.get_weights()))
                last = add("Gemm", f"{name}_sum", last, kernel, bias)
                match layer.activation.__name__:
                    case "sigmoid":
                        last = add("Sigmoid", name, last)
                        other = add("Sub", f"{name}_other", constant("one", 1), last)
                        last = add("Concat", "probabilities", other, last, axis=1)
                    case activation:
                        last = add({"relu": "Relu", "softmax": "Softmax"}[activation], name, last)
            case keras.layers.Dropout():
                continue
            case _:
                raise TypeError(f"{name} is a {type(layer).__name__}, which no network here has")
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", size, size, 3])
    probabilities = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", classes])
    graph = helper.make_graph(nodes, "classifier", [pixels], [probabilities], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"about": json.dumps(about)})
    onnx.checker.check_model(model)
    return model


def main(params) -> None:
    manifest, size = dataset.read_manifest(), params["image_size"]
    classes = dataset.class_names(manifest)
    source = json.loads(SOURCE.read_text())
    about = {
        "classes": classes,
        "image_size": size,
        "preprocessing": params["preprocessing"],
        "model": {"file": str(MODEL), "sha256": files.sha256_of(MODEL)},
        "data": {
            "source": source["source"],
            "sha256": source["sha256"],
            "manifest_sha256": files.sha256_of(dataset.MANIFEST),
            "photos": {split: len(dataset.of_split(manifest, split)) for split in dataset.SPLITS},
        },
        "metrics": json.loads(METRICS.read_text())["finetune"],
    }
    layers = whole(params)
    models.save(to_keras(layers, size), KERAS, about)
    onnx.save(to_onnx(layers, size, len(classes), about), ONNX)


if __name__ == "__main__":
    stage.run("export", main)
