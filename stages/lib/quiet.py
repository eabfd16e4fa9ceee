"""Import TensorFlow without its greetings. Stages that need it import this module first, for its effect.

TensorFlow writes several lines about GPUs that aren't there to file descriptor 2 before any setting of its own is
read. Errors are not lost: a failing import raises, and the exception is printed after the descriptor is back.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

_stderr, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
try:
    os.dup2(_nowhere, 2)
    import keras  # noqa: F401
finally:
    os.dup2(_stderr, 2)
    os.close(_stderr)
    os.close(_nowhere)
