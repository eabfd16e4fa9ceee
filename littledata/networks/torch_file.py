"""Read the tensors of a PyTorch file, the one pickle that this project reads: only where its sha256 is the pinned one, and only with
the four names that a file of tensors needs.

PyTorch's older format is five pickles and then numbers: a magic number, the version, the machine that wrote it, the tensors by
name, and the keys of the storages, in the order in which their numbers follow (`torch.serialization._legacy_save`).
"""

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from littledata.core.errors import UserError

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


class Refused(UserError):
    """The file is no such file, or asks for more than a file of tensors needs; the message says what."""


class Tensor(NamedTuple):
    """Numbers of a storage, from `offset` on; `offset` and `strides` count numbers."""

    storage: tuple[np.dtype, str, int]  # which follows the pickles: the kind of its numbers, its key, and how many they are
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


NAMES = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
    ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, strides, *_: Tensor(storage, offset, shape, strides),
}


class Unpickler(pickle.Unpickler):
    """It knows `NAMES` alone, and imports nothing."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in NAMES:
            raise Refused(f"it asks for {f'{module} {name}'!r}")
        return NAMES[module, name]

    def persistent_load(self, pid: object) -> tuple[np.dtype, str, int]:
        match pid:
            case ("storage", np.dtype() as kind, str(key), str(), int(length), None) if length > 0:
                return kind, key, length
        raise Refused("a storage is none")


def tensors(data: bytes, sha256: str) -> dict[str, np.ndarray]:
    """The tensors of a file by their names: read-only views of it, so that they take no memory, whatever the file claims.

    Raises
    ------
    Refused
        For a file with another sha256, and for all that is not such a file, whole and of nothing but float32 and int64 tensors.
    """
    _expect(hashlib.sha256(data).hexdigest() == sha256, f"its sha256 is not {sha256}")
    try:
        return _tensors(data)
    except UserError:
        raise
    except Exception as error:  # a broken pickle has a dozen
        raise Refused(f"it is broken ({type(error).__name__})") from None


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    file = io.BytesIO(data)
    magic, version, machine, named, keys = (Unpickler(file).load() for _ in range(5))
    _expect((magic, version) == (MAGIC, VERSION), "it is no PyTorch file of the older format")
    _expect(machine["little_endian"] is True, "its numbers are not little-endian")
    for name, tensor in named.items():
        _expect(type(name) is str and type(tensor) is Tensor, "it holds more than tensors")
    storages, numbers = {key: (kind, length) for (kind, key, length), *_ in named.values()}, {}
    _expect(sorted(keys) == sorted(storages), "the list of storages is not that of the tensors")
    for key in keys:
        kind, length = storages[key]
        _expect(int.from_bytes(file.read(8), "little") == length, "a storage has another length")
        numbers[key] = np.frombuffer(data, kind, length, file.tell())
        file.seek(numbers[key].nbytes, io.SEEK_CUR)
    _expect(file.tell() == len(data), "something follows its numbers")
    return {name: _view(numbers[tensor.storage[1]], tensor) for name, tensor in named.items()}


def _view(numbers: np.ndarray, tensor: Tensor) -> np.ndarray:
    """A tensor's numbers; NumPy itself raises where some would lie outside of the storage."""
    (_, offset, shape, strides), size = tensor, numbers.itemsize
    whole = all(type(number) is int and number >= 0 for number in (offset, *shape, *strides))
    _expect(whole and 0 < math.prod(shape) <= len(numbers), "a tensor's shape, strides or offset is none")
    return np.ndarray(shape, numbers.dtype, numbers, offset * size, [stride * size for stride in strides])


def _expect(right: bool, message: str) -> None:
    if not right:
        raise Refused(message)
