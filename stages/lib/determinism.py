"""The same numbers from the same params, data and machine."""

import keras


def seed_everything(seed: int) -> None:
    """Seed Keras' random numbers and make TensorFlow add up in one order, so that a run repeats bit for bit."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
