"""VGG16's frozen blocks, run as fast as the machine allows: by ncnn on a CPU, by Keras on a GPU.

On a CPU neither Keras nor TensorFlow is imported.
"""

import collections
import ctypes
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import ncnn
import numpy as np

from stages.lib import environment

CONVOLUTIONS = {"block1": 2, "block2": 2, "block3": 3, "block4": 3, "block5": 3}
FILTERS = {"block1": 64, "block2": 128, "block3": 256, "block4": 512, "block5": 512}
GPU_BATCH = 32  # items


def output_shape(blocks: Sequence[str], shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """What consecutive blocks make of an array of shape (height, width, channels): each halves height and width."""
    return shape[0] >> len(blocks), shape[1] >> len(blocks), FILTERS[blocks[-1]]


def outputs(weights: Path, blocks: Sequence[str], items: Iterable, load: Callable) -> Iterator[np.ndarray]:
    """The output of consecutive blocks for every item's pictures, in order, some pictures at a time.

    Parameters
    ----------
    weights : Path
        What the `pretrained` stage wrote.
    blocks : sequence of str
        Their names, such as ["block1", "block2"].
    items : iterable
    load : callable (item) -> float32 array of shape (k, height, width, channels)
        An item's pictures as the first block reads them. It runs in threads, ahead of what is asked for by a few items.
    """
    with ThreadPoolExecutor(environment.THREADS) as pool:
        if _nvidia():
            network, loaded = keras_network(weights, blocks), _ahead(pool, load, items, 2 * GPU_BATCH)
            while some := list(itertools.islice(loaded, GPU_BATCH)):
                yield network(np.concatenate(some))
        else:
            network = ncnn_network(weights, blocks)
            yield from _ahead(pool, lambda item: network(load(item)), items, 2 * environment.THREADS)


def _nvidia() -> bool:
    """Whether NVIDIA's driver is here, without which TensorFlow sees no GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _ahead(pool: ThreadPoolExecutor, work: Callable, items: Iterable, count: int) -> Iterator:
    """`pool.map`, but never more than `count` results wait to be asked for, so that memory stays the same."""
    waiting: collections.deque = collections.deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def keras_network(weights: Path, blocks: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """What computes the blocks' output for a batch, wherever Keras computes."""
    from stages.lib import quiet, vgg16  # isort: skip: TensorFlow takes seconds and half a gigabyte to import

    return vgg16.part(vgg16.load(weights), blocks).predict_on_batch


def ncnn_network(weights: Path, blocks: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """What computes the blocks' output for a batch in the thread that calls it; several may at once.

    A 3x3 convolution takes less than half of its multiplications by Winograd's algorithm (Lavin and Gray, "Fast
    Algorithms for Convolutional Neural Networks", CVPR 2016), in float32 to the sixth digit: on two AVX-512 cores 2.2
    times as fast as TensorFlow or ONNX Runtime, and as fast as TensorFlow in bfloat16, which is wrong in the third. A
    picture is one thread's, so that the bytes don't depend on the number of threads.
    """
    layers, content, last = ["Input input 0 1 input"], [], "input"
    numbers = itertools.count()  # Keras names a layer in the file by its kind and how many there were before
    with h5py.File(weights) as file:
        for block, count in CONVOLUTIONS.items():
            for convolution in range(1, count + 1):
                number = next(numbers)
                if block not in blocks:
                    continue
                kernel, bias = (file[f"layers/conv2d{f'_{number}' if number else ''}/vars/{i}"][:] for i in (0, 1))
                name = f"{block}_conv{convolution}"
                # 0: filters, 1: their side, 4: padding, 5: with bias, 6: how many weights, 9: with ReLU
                layers.append(f"Convolution {name} 1 1 {last} {name} 0={len(bias)} 1=3 4=1 5=1 6={kernel.size} 9=1")
                content += [bytes(4), np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), "<f4").tobytes()]  # 0: float32
                content.append(bias.astype("<f4").tobytes())
                last = name
            if block in blocks:
                # 0: the greatest, 1: of so many, 2: every so many, 5: an odd row or column at the end is left out
                layers.append(f"Pooling {block}_pool 1 1 {last} {block}_pool 0=0 1=2 2=2 5=1")
                last = f"{block}_pool"

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    # Else every layer asks the kernel for its memory. The network holds them only by their addresses.
    blobs, workspace = ncnn.PoolAllocator(), ncnn.PoolAllocator()
    net.opt.blob_allocator, net.opt.workspace_allocator = blobs, workspace
    net.load_param_mem(f"7767517\n{len(layers)} {len(layers)}\n" + "\n".join(layers) + "\n")
    net.load_model_mem(b"".join(content))

    def run(batch: np.ndarray, _alive=(blobs, workspace)) -> np.ndarray:
        computed = []
        for picture in batch:
            extractor = net.create_extractor()
            channels_first = np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32)
            extractor.input("input", ncnn.Mat(channels_first))
            failed, output = extractor.extract(last)
            if failed:
                raise MemoryError(f"ncnn could not compute {last}")
            computed.append(np.array(output).transpose(1, 2, 0))
        return np.stack(computed)

    return run
