"""The Keras blog's three scripts as one writes them today: what `make bench` compares with.

    python -m studies.plain small_cnn         # or bottleneck, finetune

Batches are decoded from files and augmented in every epoch, on all cores, ahead of the network; the whole network
runs in every epoch; nothing is cached. A few whole epochs are timed, after a warm-up of a few batches, and multiplied
out to the blog's 50; features are extracted once. The heap is tuned as the stages' is (littledata/networks), which
nearly halves level 1's time. Prints JSON: seconds, and the peak memory in MB.
"""

import json
import sys
import time

from littledata.core import stage
from littledata.networks import backbone, keras

layers = keras.layers
SIZE, BATCH, EPOCHS = 150, 16, 50


def photos(split: str, augmented: bool = False):
    """A split's photos from their files: batches of (float32 pixels from 0 to 1, labels)."""
    dataset = keras.utils.image_dataset_from_directory(
        f"data/photos/{split}", label_mode="binary", image_size=(SIZE, SIZE), batch_size=BATCH, seed=1, verbose=False
    )
    augmentation = [layers.RandomFlip("horizontal"), layers.RandomShear(0.2, 0.0), layers.RandomZoom(0.2)]
    prepare = keras.Sequential([layers.Rescaling(1 / 255), *(augmentation if augmented else [])])
    return dataset.map(lambda x, y: (prepare(x, training=True), y), num_parallel_calls=-1).prefetch(2)


def epoch_seconds(model: keras.Model, optimizer: keras.Optimizer, epochs: int) -> float:
    """Seconds of one epoch of `fit` with its validation, the mean of a few."""
    model.compile(optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    train, validation = photos("train", augmented=True), photos("validation")
    model.fit(train.take(3), validation_data=validation.take(3), verbose=0)
    start = time.perf_counter()
    model.fit(train, validation_data=validation, epochs=epochs, verbose=0)
    return (time.perf_counter() - start) / epochs


def classifier() -> keras.Sequential:
    return keras.Sequential(
        [layers.Flatten(), layers.Dense(256, activation="relu"), layers.Dropout(0.5), layers.Dense(1, activation="sigmoid")]
    )


def convolutions() -> keras.Model:
    return backbone.load("VGG16", "models/backbone.weights.h5", SIZE)


def small_cnn() -> dict:
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3))])
    for filters in (32, 32, 64):
        model.add(layers.Conv2D(filters, 3, activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(64, activation="relu"))
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(1, activation="sigmoid"))
    seconds = epoch_seconds(model, keras.optimizers.RMSprop(), epochs=2)
    return {"epoch_seconds": seconds, "seconds": seconds * EPOCHS}


def bottleneck() -> dict:
    network, features, labels = convolutions(), {}, {}
    start = time.perf_counter()
    for split in ("train", "validation"):
        batches = [(network.predict_on_batch(pixels), kinds) for pixels, kinds in photos(split)]
        features[split], labels[split] = (keras.ops.concatenate(column) for column in zip(*batches, strict=True))
    extracted = time.perf_counter() - start
    model = classifier()
    model.compile("rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(features["train"][:BATCH], labels["train"][:BATCH], batch_size=BATCH, verbose=0)
    start = time.perf_counter()
    validation = features["validation"], labels["validation"]
    model.fit(features["train"], labels["train"], BATCH, epochs=5, validation_data=validation, verbose=0)
    seconds = (time.perf_counter() - start) / 5
    return {"features_seconds": extracted, "epoch_seconds": seconds, "seconds": extracted + seconds * EPOCHS}


def finetune() -> dict:
    network = convolutions()
    for layer in network.layers:
        layer.trainable = layer.name.startswith("block5")
    model = keras.Model(network.input, classifier()(network.output))
    seconds = epoch_seconds(model, keras.optimizers.SGD(1e-4, momentum=0.9), epochs=1)
    return {"epoch_seconds": seconds, "seconds": seconds * EPOCHS}


if __name__ == "__main__":
    measured = {"small_cnn": small_cnn, "bottleneck": bottleneck, "finetune": finetune}[sys.argv[1]]()
    print(json.dumps(measured | {"peak_memory_mb": stage.peak_memory_mb()}))
