"""The Keras models, and pretrained weights. Keras itself is imported only here: `from littledata.networks import keras`.

This import is quiet, and the order of a module's imports does not matter. TensorFlow writes several lines about GPUs that aren't there
to file descriptor 2, before it reads any setting. They go nowhere. An import that fails still raises, and its exception is printed.
The room imports `core` and `photos`.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from littledata.core import environment


def keras_home() -> Path:
    """The folder in which Keras keeps what it downloads: its own, or one of this project where HOME is read-only."""
    home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))
    return home if os.access(home if home.exists() else home.parent, os.W_OK) else environment.ROOT.absolute() / ".cache/keras"


@contextmanager
def _alone() -> Iterator[None]:
    """Import Keras without a word, and as if nobody had set anything for other projects (channels_first, another backend, fewer
    epochs): by variables, or by keras.json, which Keras looks for in its home. Nothing of the environment is changed in the end."""
    variables, stderr, nowhere = dict(os.environ), os.dup(2), os.open(os.devnull, os.O_WRONLY)
    # Keras takes along what it finds for wrappers and plots that nothing here uses: a third of its import's time. None: not to be found.
    unused = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
    sys.modules |= dict.fromkeys(unused)
    try:
        os.dup2(nowhere, 2)
        for name in [name for name in variables if name.startswith("KERAS_")]:
            del os.environ[name]
        with tempfile.TemporaryDirectory() as empty:
            os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": empty}
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            yield
    finally:
        for name in unused:
            del sys.modules[name]
        os.environ.clear()
        os.environ.update(variables)
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


with _alone():
    import keras
    import tensorflow
keras.src.backend.config._KERAS_DIR = str(keras_home())


def seed_everything(seed: int) -> None:
    """Seed Keras' random numbers and make TensorFlow add up in one order, so that a run repeats bit for bit."""
    keras.utils.set_random_seed(seed)
    add_up_in_one_order()


def add_up_in_one_order() -> None:
    """Make TensorFlow's own kernels repeat bit for bit."""
    tensorflow.config.experimental.enable_op_determinism()
