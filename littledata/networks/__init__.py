"""Keras, quiet and repeatable: whoever needs it takes it from here, `from littledata.networks import keras`.

So the order of a module's imports doesn't matter. TensorFlow writes several lines about GPUs that aren't there to file
descriptor 2 before any setting of its own is read. Errors are not lost: a failing import raises, and the exception is
printed after the descriptor is back.
"""

import ctypes
import os
import sys
import tempfile
from pathlib import Path

from littledata.core import environment

os.environ["TF_NUM_INTRAOP_THREADS"] = str(environment.THREADS)  # whatever a process that started this one had
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def keras_home() -> Path:
    """The folder in which Keras keeps what it downloads: its own, or one of this project where HOME is read-only."""
    own = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))
    return own if os.access(own if own.exists() else own.parent, os.W_OK) else environment.ROOT.absolute() / ".cache/keras"


# What people have set for other projects (channels_first, another backend, fewer epochs) is left unread: by variables, and by
# keras.json, which Keras looks for in its home as it is imported.
_home, _named = keras_home(), os.environ.get("KERAS_HOME")
for _name in [name for name in os.environ if name.startswith("KERAS_")]:
    del os.environ[_name]
# Keras takes along what it finds for wrappers and plots that nothing here uses: a third of its import's time. None: not to be found.
_unused = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
sys.modules |= dict.fromkeys(_unused)
_stderr, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
try:
    os.dup2(_nowhere, 2)
    with tempfile.TemporaryDirectory() as _empty:
        os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": _empty}
        import keras
        import tensorflow
    keras.src.backend.config._KERAS_DIR = str(_home)
finally:
    for _name in _unused:
        del sys.modules[_name]
    os.dup2(_stderr, 2)
    os.close(_stderr)
    os.close(_nowhere)
    del os.environ["KERAS_HOME"]
    os.environ |= {"KERAS_HOME": _named} if _named else {}

# glibc gives the memory of every large tensor back to the kernel and asks for it again a moment later: in a training
# of small layers half of the time went there (level 1: 30 s an epoch, 17 s with this, on two virtual cores).
if sys.platform == "linux" and hasattr(_libc := ctypes.CDLL(None), "gnu_get_libc_version"):
    _libc.mallopt(-4, 0)  # M_MMAP_MAX: no block of its own from the kernel for any tensor
    _libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing back from the top of the heap


def seed_everything(seed: int) -> None:
    """Seed Keras' random numbers and make TensorFlow add up in one order, so that a run repeats bit for bit."""
    keras.utils.set_random_seed(seed)
    add_up_in_one_order()


def add_up_in_one_order() -> None:
    """Make TensorFlow's own kernels repeat bit for bit."""
    tensorflow.config.experimental.enable_op_determinism()
