"""The networks: the blog's small convnet, and the classifier that goes on top of VGG16; and their files, which repeat.

This is the only module that knows a sigmoid from a softmax.
"""

import json
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from littledata.core import files
from littledata.core.params import SmallCNN, Top
from littledata.networks import keras

layers = keras.layers
BATCH_SIZE = 32  # views, where nothing is trained


def penalty(l1: float, l2: float) -> keras.Regularizer | None:
    """L1 and L2 penalties for a layer's kernel; None where both are 0."""
    return keras.regularizers.L1L2(l1, l2) if l1 or l2 else None


def classifier(features, num_classes: int, pooling: str, units: int, dropout: float, l1=0.0, l2=0.0) -> keras.KerasTensor:
    """Pooling (`flatten` or `average`), one hidden layer (none with 0 `units`) and the output layer, with dropout
    and penalties, on a Keras tensor."""
    x = (layers.Flatten if pooling == "flatten" else layers.GlobalAveragePooling2D)()(features)
    if units:
        x = layers.Dense(units, activation="relu", kernel_regularizer=penalty(l1, l2), name="hidden")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    outputs, activation = (1, "sigmoid") if num_classes == 2 else (num_classes, "softmax")
    return layers.Dense(outputs, activation=activation, kernel_regularizer=penalty(l1, l2), name="probability")(x)


def small_cnn(num_classes: int, params: SmallCNN) -> keras.Model:
    """Level 1: blocks of a 3x3 convolution, 2x2 pooling and ReLU, then the classifier. uint8 pixels in.

    The blog's has the filters 32-32-64, valid padding and no batch normalisation; with `batch_norm` the
    convolutions are padded, so that more blocks fit.

    Raises
    ------
    ValueError
        Keras', where the photos are so small that nothing is left to convolve or to pool.
    """
    normalise = params.batch_norm
    inputs = keras.Input((params.image_size, params.image_size, 3), name="pixels")
    x = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    for number, filters in enumerate(params.filters, start=1):
        padding, stride = "same" if normalise else "valid", params.first_stride if number == 1 else 1
        x = layers.Conv2D(filters, 3, stride, padding, use_bias=not normalise, name=f"conv{number}")(x)
        # Pooling commutes with ReLU; done first, it leaves a quarter of the values to normalise and rectify.
        x = layers.MaxPooling2D(name=f"pool{number}")(x)
        if normalise:
            # The default momentum, 0.99, lags behind where an epoch has a hundred batches.
            x = layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    return keras.Model(inputs, classifier(x, num_classes, params.pooling, params.units, params.dropout), name="small_cnn")


def both_ways(model: keras.Model) -> keras.Model:
    """The mean of what a model of photos says of each and of its mirror image; it shares the model's weights."""
    inputs = keras.Input(model.input_shape[1:], name="pixels")
    one_way = keras.Model(model.input, model.output, name=model.name)  # compiled, `model` would be saved with its metrics
    answers = [one_way(inputs), one_way(keras.ops.flip(inputs, axis=2))]
    return keras.Model(inputs, layers.Average(name="mean")(answers), name=f"{model.name}_both_ways")


def top(feature_shape: tuple[int, int, int], num_classes: int, params: Top) -> keras.Model:
    """Level 2: the classifier on bottleneck features of shape (height, width, channels)."""
    inputs = keras.Input(feature_shape, name="bottleneck")
    output = classifier(inputs, num_classes, params.pooling, params.units, params.dropout, params.l1, params.l2)
    return keras.Model(inputs, output, name="top")


def on_averages(top: keras.Model) -> keras.Model:
    """A classifier that averages features over the picture, on features that are averaged already, of shape (1, 1, channels); it
    shares the classifier's layers."""
    inputs = x = keras.Input((1, 1, top.input_shape[-1]), name="averages")
    for layer in top.layers[1:]:
        x = layer(x)
    return keras.Model(inputs, x, name=top.name)


def loss(model: keras.Model) -> str:
    """The loss that goes with the model's output, for what `targets` gives."""
    return "binary_crossentropy" if model.output_shape[-1] == 1 else "categorical_crossentropy"


def targets(labels: np.ndarray) -> np.ndarray:
    """What the output is to be for class numbers of shape (n,): float32 of shape (n, 1) or (n, classes)."""
    hot = np.eye(labels.max() + 1, dtype=np.float32)[labels]
    return hot[:, 1:] if hot.shape[1] == 2 else hot


def temper(model: keras.Model, temperature: float) -> None:
    """Divide a model's logits by a temperature."""
    last = model.get_layer("probability")
    last.set_weights([weights / np.float32(temperature) for weights in last.get_weights()])


def class_weights(labels: np.ndarray) -> np.ndarray:
    """How much each photo counts so that all classes count alike, the mean over the photos 1: float32 of shape (n,)."""
    counts = np.bincount(labels)
    return (len(labels) / (len(counts) * counts))[labels].astype(np.float32)


def classes(model: keras.Model) -> int:
    """How many classes a model tells apart."""
    return max(2, model.output_shape[-1])


def probabilities(model: keras.Model, batch: np.ndarray) -> np.ndarray:
    """Every class' probability, sigmoid or softmax: float array of shape (n, classes)."""
    output = model.predict_on_batch(batch).astype(np.float64)
    return np.hstack([1 - output, output]) if output.shape[1] == 1 else output


def predict(model: keras.Model, photos: np.ndarray, update: Callable[[int], object] = lambda count: None) -> np.ndarray:
    """Every class' probability for photos, the mean over each one's views: for an array of shape (n, views, ...), a float
    array of shape (n, classes). `update` is told how many photos each batch had."""
    step, answers = max(1, BATCH_SIZE // photos.shape[1]), []
    for start in range(0, len(photos), step):
        batch = photos[start : start + step].astype(np.float32)
        answers.append(probabilities(model, batch.reshape(-1, *batch.shape[2:])).reshape(*batch.shape[:2], -1).mean(1))
        update(len(batch))
    return np.concatenate(answers)


def save(model: keras.Model, path: Path, about: Mapping | None = None) -> None:
    """Write a .keras file for inference whose bytes depend on the model alone; `about` goes with it as about.json.

    Keras notes the time of saving in the file's metadata and in the zip around it; here it is always 1980. It also
    marks what layers share by an address in memory; here such objects are counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        dated = Path(folder, path.name)
        keras.Model(model.input, model.output, name=model.name).save(dated)  # without the optimiser's state
        with zipfile.ZipFile(dated) as archive:
            contents = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(contents["metadata.json"]) | {"date_saved": "1980-01-01"}
    contents["metadata.json"] = json.dumps(metadata).encode()
    addresses, config = dict[str, str](), contents["config.json"].decode()
    config = re.sub(r'(?<="shared_object_id": )\d+', lambda at: addresses.setdefault(at[0], str(len(addresses))), config)
    contents["config.json"] = config.encode()
    if about:
        contents["about.json"] = json.dumps(about).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as file:
        files.write_zip(file, contents.items())
