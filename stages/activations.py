"""What VGG16's frozen layers put out, once for every augmented view of every photo.

Everything below the cut stays as it was pretrained, so its output for one picture never changes. Computed once
and cached, an experiment with another learning rate, dropout, seed or number of epochs trains only what lies above.
The cut follows `finetune.unfreeze`: with [block5] it is the output of block4's pooling.

Writes data/activations/<split>.npy and .csv: training photos in `activations.views` views, the first of them
plain; validation and test photos plain.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.lib import quiet, stage  # isort: skip: first, it keeps TensorFlow quiet
import numpy as np

from stages.lib import activations, dataset, images, vgg16
from stages.lib.progress import progress

WEIGHTS = Path("models/vgg16.weights.h5")
BATCH_SIZE = 16  # pictures; on a CPU larger ones are no faster and take more memory


def views_of(photo: dataset.Photo, views: int, size: int, strength, seed: int) -> np.ndarray:
    """One decoded photo in all its views: uint8 of shape (views, size, size, 3)."""
    plain = images.resize(images.decode(photo.path.read_bytes(), size), size)
    rngs = (images.random_numbers(seed, view, photo.sha256) for view in range(1, views))
    return np.stack([plain, *(images.augment(plain, strength, rng) for rng in rngs)])


def main(params) -> None:
    size, strength, seed = params["image_size"], params["activations"]["augmentation"], params["activations"]["seed"]
    manifest = dataset.read_manifest()
    network = vgg16.load(WEIGHTS, size)
    frozen = vgg16.below(network, vgg16.cut_layer(params["finetune"]["unfreeze"]))
    frozen.compile(jit_compile=True)  # XLA: 6 % faster than op by op on two AVX2 cores

    with ThreadPoolExecutor(max_workers=2) as pool:
        for split in dataset.SPLITS:
            photos = dataset.of_split(manifest, split)
            views = params["activations"]["views"] if split == "train" else 1
            array = activations.create(activations.ACTIVATIONS, photos, views, frozen.output_shape[1:])
            step = max(1, BATCH_SIZE // views)

            def decoded(start, photos=photos, views=views, step=step):
                some = photos[start : start + step]
                pixels = np.stack([views_of(photo, views, size, strength, seed) for photo in some])
                return vgg16.preprocess(pixels.reshape(-1, size, size, 3), params["preprocessing"])

            with progress(views * len(photos), f"{split} views", "views") as bar:
                # Threads decode the next batches while the network works on this one.
                waiting = [pool.submit(decoded, start) for start in range(0, min(3 * step, len(photos)), step)]
                for start in range(0, len(photos), step):
                    batch = waiting.pop(0).result()
                    if (ahead := start + 3 * step) < len(photos):
                        waiting.append(pool.submit(decoded, ahead))
                    output = frozen.predict_on_batch(batch)
                    count = len(batch) // views
                    array[:, start : start + count] = output.reshape(count, views, *output.shape[1:]).swapaxes(0, 1)
                    bar.update(len(batch))
            array.flush()


if __name__ == "__main__":
    stage.run("activations", main)
