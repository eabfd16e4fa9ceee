"""Read the tensors of a PyTorch file as data. No unpickler reads it: that would run what the file asks for.

PyTorch's older format is five pickles and then numbers: a magic number, the version, the machine that wrote it, the tensors by
name, and the keys of the storages, in the order in which their numbers follow (`torch.serialization._legacy_save`).
`pickletools.genops` names a pickle's opcodes and runs none. The few that such a file needs are carried out here, on plain data.
"""

import io
import math
import pickletools
from typing import NamedTuple

import numpy as np

from littledata.core.errors import UserError

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
OPCODES = 100_000  # in a pickle at most; EfficientNet-Lite0's largest has 11,000
ORDERED, REBUILD = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
TYPES = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2}
MARK = object()


class Refused(UserError):
    """The file is no such file, or asks for more than a file of tensors needs; the message says what."""


class Known(str):
    """The name of a class or function that a pickle asks for. What it names is never looked up."""


class Storage(NamedTuple):
    """So many numbers, which follow the pickles."""

    kind: Known
    key: str
    count: int


class Tensor(NamedTuple):
    """Numbers of a storage, from `offset` on; `offset` and `strides` count numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def tensors(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file by their names: read-only views of it, so that they take no memory, whatever the file claims.

    Raises
    ------
    Refused
        For all that is not such a file, whole and of nothing but float32 and int64 tensors.
    """
    file = io.BytesIO(data)
    try:
        magic, version, machine, found, keys = (unpickled(file) for _ in range(5))
    except (ValueError, IndexError, KeyError) as error:  # genops', or a stack that is empty, a memo that is not there
        raise Refused(f"a pickle is broken ({type(error).__name__})") from None
    _expect((magic, version) == (MAGIC, VERSION), "it is no PyTorch file of the older format")
    _expect(type(machine) is dict and machine.get("little_endian") is True, "its numbers are not little-endian")
    _expect(type(found) is dict and all(type(tensor) is Tensor for tensor in found.values()), "it holds more than tensors")
    _expect(type(keys) is list and all(type(key) is str for key in keys), "it has no list of storages")
    storages = {tensor.storage.key: tensor.storage for tensor in found.values()}
    _expect(all(storages[tensor.storage.key] == tensor.storage for tensor in found.values()), "a storage has two sizes")
    _expect(sorted(keys) == sorted(storages), "the list of storages is not that of the tensors")
    numbers, position = {}, file.tell()
    for key in keys:
        kind, _, count = storages[key]
        start, position = position + 8, position + 8 + count * TYPES[kind].itemsize
        _expect(position <= len(data), "its numbers end early")
        _expect(int.from_bytes(data[start - 8 : start], "little") == count, "a storage has another length")
        numbers[key] = np.frombuffer(data, TYPES[kind], count, start)
    _expect(position == len(data), "something follows its numbers")
    return {name: _view(numbers[tensor.storage.key], tensor) for name, tensor in found.items()}


def _expect(right: bool, message: str) -> None:
    if not right:
        raise Refused(message)


def _view(numbers: np.ndarray, tensor: Tensor) -> np.ndarray:
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides))
    inside = last < len(numbers) and all(stride <= len(numbers) for stride in tensor.strides)  # NumPy asks it of unused ones too
    _expect(inside and math.prod(tensor.shape) <= len(numbers), "a tensor goes beyond its storage")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)


def unpickled(file: io.BytesIO) -> object:
    """What the next pickle in a file describes: numbers, strings, tuples, lists, dicts and `Tensor`s.

    Raises
    ------
    Refused
        For any other opcode, name or call.
    ValueError, IndexError, KeyError
        Where it is broken.
    """
    stack: list = []
    memo: dict[int, object] = {}

    def after_mark() -> list:
        mark = max(place for place, value in enumerate(stack) if value is MARK)  # ValueError without one
        values = stack[mark + 1 :]
        del stack[mark:]
        return values

    def update(pairs: list) -> None:
        _expect(type(stack[-1]) is dict and all(type(key) is str for key in pairs[::2]), "a dict has keys that are no names")
        stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        _expect(number < OPCODES, "a pickle is too long")
        match opcode.name:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                stack.append(MARK)
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(CONSTANTS[opcode.name])
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2":
                stack.append(tuple(reversed([stack.pop() for _ in range(TUPLES[opcode.name])])))
            case "TUPLE":
                stack.append(tuple(after_mark()))
            case "APPENDS":
                values = after_mark()
                _expect(type(stack[-1]) is list, "values are added to what is no list")
                stack[-1].extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                update([key, value])
            case "SETITEMS":
                update(after_mark())
            case "BUILD":  # the dict of tensors has an attribute, `_metadata`, with modules' versions
                stack.pop()
                _expect(type(stack[-1]) is dict, "an object's state is set")
            case "GLOBAL":
                _expect(argument in (ORDERED, REBUILD, *TYPES), f"it asks for {argument!r}")
                stack.append(Known(argument))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            case other:
                raise Refused(f"it has the opcode {other}")
    return stack[-1]


def _storage(given: object) -> Storage:
    """The storage of ("storage", its class, its key, the device, how many numbers, no view)."""
    right = type(given) is tuple and [type(value) for value in given] == [str, Known, str, str, int, type(None)]
    _expect(right and given[0] == "storage" and given[1] in TYPES and given[4] > 0, "a storage is none")
    return Storage(given[1], given[2], given[4])


def _called(function: object, arguments: object) -> object:
    """What one of the two calls gives that a file of tensors has: an empty dict, or a tensor."""
    _expect(type(function) is Known and function in (ORDERED, REBUILD) and type(arguments) is tuple, "it calls something else")
    if function == ORDERED:
        _expect(not arguments, "a dict is made of something")
        return {}
    _expect([type(value) for value in arguments] == [Storage, int, tuple, tuple, bool, dict], "a tensor is made of something else")
    storage, offset, shape, strides, *_ = arguments
    sides = all(type(side) is int and side > 0 for side in shape) and all(type(step) is int and step >= 0 for step in strides)
    _expect(sides and offset >= 0 and len(shape) == len(strides) <= 4, "a tensor's shape, strides or offset is none")
    return Tensor(storage, offset, shape, strides)
