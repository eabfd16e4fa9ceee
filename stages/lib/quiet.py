"""Import TensorFlow without its greetings, on a heap that keeps its memory. Stages import this first, for its effect.

TensorFlow writes several lines about GPUs that aren't there to file descriptor 2 before any setting of its own is
read. Errors are not lost: a failing import raises, and the exception is printed after the descriptor is back.
"""

import ctypes
import os
import sys

from stages.lib import environment

os.environ["TF_NUM_INTRAOP_THREADS"] = str(environment.THREADS)  # whatever a process that started this one had
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

# glibc gives the memory of every large tensor back to the kernel and asks for it again a moment later: in a training
# of small layers half of the time went there (level 1: 30 s an epoch, 17 s with this, on two virtual cores).
if sys.platform == "linux" and hasattr(_libc := ctypes.CDLL(None), "gnu_get_libc_version"):
    _libc.mallopt(-4, 0)  # M_MMAP_MAX: no block of its own from the kernel for any tensor
    _libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing back from the top of the heap
