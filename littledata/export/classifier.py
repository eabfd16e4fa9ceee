"""An exported network, run by ONNX Runtime; TensorFlow is not imported."""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from littledata.core import paths
from littledata.core.errors import UserError
from littledata.pictures import deep, images, kinds

CHECKOUT = Path(__file__).parents[2]  # or where packages are installed
OWN = CHECKOUT / paths.CLASSIFIER if (CHECKOUT / "dvc.yaml").exists() else None  # which the DAG has made
FITS = ("squash", "crop", "pad")
LARGEST = 2048  # px


class Network:
    """A network that this project has exported.

    `about` says what it is: its `image_size`, its `fit`, and how many `features` it puts out, or which `classes`.

    Parameters
    ----------
    path : Path
        Its file. None stands for the checkout's own classifier where there is no checkout.
    data : bytes, optional
        What the file holds, where it has come another way.

    Raises
    ------
    UserError
        If the file is missing or is none of this project.
    """

    def __init__(self, path: Path | None, data: bytes | None = None) -> None:
        if path is None:
            raise UserError("Which classifier? Name its file: --model FILE, such as models/classifier.onnx of a checkout.")
        if data is None and not path.exists():
            raise UserError(f"No classifier at {path}: `make repro` makes one, or name another by --model.")
        self.path, options = path, onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # what one thread computes for a picture alone depends on that picture alone
        if data is None and path.resolve() != OWN:  # to look at each would double the time to the first answer
            from littledata.export import model_file

            model_file.check(path)
        try:
            self.session = onnxruntime.InferenceSession(data or str(path), options, providers=["CPUExecutionProvider"])
            self.about = json.loads(self.session.get_modelmeta().custom_metadata_map["about"])
            self.size, self.classes = self.about["image_size"], self.about.get("classes", [])
            self.count = len(self.classes) or int(self.about["features"])
            self.fit = self.about.get("fit", "squash")  # files from before these could be chosen don't say
            named = isinstance(self.classes, list) and all(isinstance(name, str) for name in self.classes)
            if not (named and type(self.size) is int and images.MIN_SIDE <= self.size <= LARGEST and self.fit in FITS):
                raise ValueError("classes, image_size or fit")
            self.depth = deep.of_json(self.about.get("depth"))
        except Exception as error:  # ONNX Runtime has a dozen, with no common ancestor of their own
            raise self.refused(type(error).__name__) from None

    def refused(self, reason: str) -> UserError:
        return UserError(f"{self.path} is no classifier that this project exported ({reason}).")

    def outputs(self, pixels: np.ndarray) -> np.ndarray:
        """What it puts out for uint8 pixels of shape (n, size, size, 3): float32 of shape (n, outputs). By the thread that calls it;
        several may at once.

        Raises
        ------
        UserError
            Where the file's graph does not fit together.
        """
        try:
            outputs = self.session.run(None, {"pixels": pixels})[0]
            if outputs.shape != (len(pixels), self.count):
                raise ValueError("outputs")
            return outputs
        except Exception as error:  # as above
            raise self.refused(type(error).__name__) from None

    def read(self, data: bytes, name: str = "") -> np.ndarray:
        """A picture's pixels as `outputs` takes them; images.UnreadablePhoto where it is none, or a RAW one by its name:
        decoded it would be its thumbnail."""
        if reason := kinds.of(name, data[: kinds.HEAD]):
            raise images.UnreadablePhoto(reason)
        return images.square(data, self.size, self.fit, self.depth)


class Classifier(Network):
    """A network whose outputs are the probabilities of its `classes`, in their order; `about` has its data and metrics."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        if not self.classes:
            raise self.refused("it has no classes")

    probabilities = Network.outputs
