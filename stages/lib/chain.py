"""Networks that are chains of layers, and of chains, as all here are."""

from collections.abc import Iterator

import keras


def layers_of(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers in order, without inputs."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        elif not isinstance(layer, keras.layers.InputLayer):
            yield layer
