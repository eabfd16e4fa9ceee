"""What every network reads, made of pixels by a layer: so a file of a whole network takes photos as they are."""

import numpy as np

from littledata.networks import backbone, keras


def preprocessing(name: str, how: str) -> keras.layers.Conv2D:
    """What `Frozen.preprocess` does, as a 1x1 convolution: it is a linear map of red, green and blue for every network."""

    def of(pixel):
        return np.float32(pixel) / 255 if how == "rescale" else backbone.preprocess(name, np.array([[pixel]], np.uint8))[0, 0]

    offset = of([0, 0, 0])
    kernel = np.stack([(of(255 * row) - offset) / 255 for row in np.eye(3)])
    layer = keras.layers.Conv2D(3, 1, name="preprocessing")
    layer.build((None, None, None, 3))
    layer.set_weights([kernel[None, None], offset])
    return layer
