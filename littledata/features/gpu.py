"""Whether there is a GPU to compute on: one that NVIDIA's driver has, with the CUDA packages that TensorFlow needs for it.

The driver alone (`libcuda.so.1`) says little: containers and cloud images have it without a device, and without the packages
TensorFlow computes on the processor, in silence.
"""

import ctypes
import functools
import re
from importlib import metadata

DRIVER = "libcuda.so.1"
EXTRA = "and-cuda"  # TensorFlow's own name for what it needs besides
WITHOUT_CUDA = "This machine has an NVIDIA device, and no CUDA packages for TensorFlow: computing on the processor. `make repro` installs them."
NOT_SEEN = "NVIDIA's driver has a device that TensorFlow does not see (is the driver too old?): computing on the processor."


def devices() -> int:
    """How many devices NVIDIA's driver has for this process, by its own word: 0 where there is no driver. CUDA_VISIBLE_DEVICES=-1
    hides them."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(DRIVER)
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):  # AttributeError: something else of that name
        return 0
    return 0 if failed else count.value


def missing() -> list[str]:
    """The CUDA packages that TensorFlow names and that are not installed."""
    needed = [re.match(r"[\w.-]+", line)[0] for line in metadata.requires("tensorflow") or () if EXTRA in line]
    return [name for name in needed if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


@functools.cache
def used() -> bool:
    """Whether TensorFlow has a GPU. It is asked last, since its import takes seconds; a GPU that stays unused is a line."""
    if not devices():
        return False
    if missing():
        print(WITHOUT_CUDA, flush=True)
        return False
    from littledata.networks import keras

    if not (seen := bool(keras.distribution.list_devices("gpu"))):
        print(NOT_SEEN, flush=True)
    return seen
