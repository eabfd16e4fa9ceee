"""Run frozen layers as fast as the machine allows: on a CPU VGG16's by ncnn, other networks' by ONNX Runtime; on a GPU by Keras.

VGG16 on a CPU needs neither Keras nor TensorFlow, so it does not import them.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import ncnn
import numpy as np

from littledata.core import environment
from littledata.core.params import BLOCKS
from littledata.features import gpu
from littledata.pictures import images

CONVOLUTIONS = {"block1": 2, "block2": 2, "block3": 3, "block4": 3, "block5": 3}
FILTERS = {"block1": 64, "block2": 128, "block3": 256, "block4": 512, "block5": 512}
BATCH = 32  # items, where Keras computes


class Frozen:
    """The layers below or above the cut, as they were pretrained.

    Parameters
    ----------
    weights : Path
        What the `pretrained` stage wrote.
    backbone : str
        The network's name, one of `params.BACKBONES`.
    unfreeze : sequence of str
        Where it is cut: what the first layers above begin with. Empty: it isn't, all layers are below.
    above : bool
        Which part.
    """

    def __init__(self, weights: Path, backbone: str, unfreeze: Sequence[str], above: bool = False) -> None:
        self.blocks = unfreeze if above else BLOCKS[: len(BLOCKS) - len(unfreeze)]
        self.backbone = backbone
        self.model = self.network = None
        if backbone == "VGG16" and not gpu.used():
            self.network = ncnn_network(vgg16(weights), self.blocks)
        else:
            from littledata.networks import backbone as networks

            self.model = (networks.above if above else networks.below)(networks.load(backbone, weights), unfreeze)
            if not gpu.used():
                self.network = onnx_network(self.model)

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """What they make of an array of shape (height, width, channels)."""
        if self.model:
            return self.model.compute_output_shape((None, *shape))[1:]
        # Each of VGG16's blocks halves height and width.
        return shape[0] >> len(self.blocks), shape[1] >> len(self.blocks), FILTERS[self.blocks[-1]]

    def preprocess(self, pixels: np.ndarray, how: str) -> np.ndarray:
        """uint8 RGB pixels (..., 3) as the float32 that the network reads: `imagenet` or `rescale`."""
        if self.backbone == "VGG16" or how == "rescale":
            return images.preprocess(pixels, how)
        from littledata.networks import backbone

        return backbone.preprocess(self.backbone, pixels)

    def outputs(self, items: Iterable, load: Callable, recall: Callable | None = None) -> Iterator[np.ndarray]:
        """What they put out for every item's pictures, in order, some pictures at a time.

        Parameters
        ----------
        items : iterable
        load : callable (item) -> float32 array of shape (k, height, width, channels)
            An item's pictures as the first layer reads them. It runs in threads, ahead of what is asked for by a few items.
        recall : callable (item, compute) -> array of shape (k, height, width, channels), optional
            What gives an item's output where it is known already, or else calls `compute`. Keras doesn't ask: what it puts out
            for a picture depends, in the last bits, on the pictures beside it.
        """
        with ThreadPoolExecutor(environment.THREADS) as pool:
            if self.network:

                def work(item):
                    return recall(item, lambda: self.network(load(item))) if recall else self.network(load(item))

                yield from environment.ahead(pool, work, items, 2 * environment.THREADS)
                return
            loaded = environment.ahead(pool, load, items, 2 * BATCH)
            while batch := list(itertools.islice(loaded, BATCH)):
                yield self.model.predict_on_batch(np.concatenate(batch))


def onnx_network(model) -> Callable[[np.ndarray], np.ndarray]:
    """What computes a Keras network's output for a batch in the thread that calls it; several may at once.

    On two cores three times as fast as Keras, and for EfficientNet-Lite0 1.7 times as fast as ncnn: there is next to nothing in it
    for Winograd's algorithm. A picture is one thread's, so that its bytes depend neither on the number of threads nor on others.
    """
    import onnxruntime

    from littledata.export import to_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx.features(model).SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(batch: np.ndarray) -> np.ndarray:
        return np.concatenate([session.run(None, {"pictures": batch[row : row + 1]})[0] for row in range(len(batch))])

    return run


Convolutions = Mapping[str, tuple[np.ndarray, np.ndarray]]  # by name, such as block1_conv2: kernel (out, in, 3, 3) and bias


def vgg16(weights: Path) -> Convolutions:
    """VGG16's, from the file that the `pretrained` stage wrote."""
    names = [f"{block}_conv{number}" for block, count in CONVOLUTIONS.items() for number in range(1, count + 1)]
    convolutions = {}
    with h5py.File(weights) as file:
        for number, name in enumerate(names):  # Keras names a layer in the file by its kind and how many there were before
            kernel, bias = (file[f"layers/conv2d{f'_{number}' if number else ''}/vars/{i}"][:] for i in (0, 1))
            convolutions[name] = kernel.transpose(3, 2, 0, 1), bias
    return convolutions


def ncnn_network(convolutions: Convolutions, blocks: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """What computes the output of consecutive blocks of VGG16 for a batch in the thread that calls it; several may at once.

    A 3x3 convolution takes less than half of its multiplications by Winograd's algorithm (Lavin and Gray, "Fast
    Algorithms for Convolutional Neural Networks", CVPR 2016), in float32 to the sixth digit: on two AVX-512 cores 2.2
    times as fast as TensorFlow or ONNX Runtime, and as fast as TensorFlow in bfloat16, which is wrong in the third. A
    picture is one thread's, so that the bytes don't depend on the number of threads.
    """
    layers, content, last = ["Input input 0 1 input"], [], "input"
    for block in blocks:
        for number in range(1, CONVOLUTIONS[block] + 1):
            kernel, bias = convolutions[name := f"{block}_conv{number}"]
            # 0: filters, 1: their side, 4: padding, 5: with bias, 6: how many weights, 9: with ReLU
            layers.append(f"Convolution {name} 1 1 {last} {name} 0={len(bias)} 1=3 4=1 5=1 6={kernel.size} 9=1")
            content += [bytes(4), np.ascontiguousarray(kernel, "<f4").tobytes()]  # 0: float32
            content.append(bias.astype("<f4").tobytes())
            last = name
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
