"""An exported network, run by ONNX Runtime; TensorFlow is not imported."""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from littledata.core.errors import UserError
from littledata.pictures import deep, images, kinds

OWN = Path(__file__).parents[2] / "models/classifier.onnx"  # which the DAG has made
FITS = ("squash", "crop", "pad")
LARGEST = 2048  # px


class Network:
    """A network that this project has exported.

    `about` says what it is: its `image_size`, its `fit`, and how many `features` it puts out, or which `classes`.

    Parameters
    ----------
    path : Path
        Its file.
    data : bytes, optional
        What the file holds, where it has come another way.

    Raises
    ------
    UserError
        If the file is missing or is none of this project.
    """

    def __init__(self, path: Path, data: bytes | None = None) -> None:
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
            self.size, self.count = self.about["image_size"], self.width()
            self.fit = self.about.get("fit", "squash")  # files from before these could be chosen don't say
            if not (type(self.size) is int and images.MIN_SIDE <= self.size <= LARGEST and self.fit in FITS):
                raise ValueError("image_size or fit")
            self.depth = deep.of_json(self.about.get("depth"))
        except Exception as error:  # ONNX Runtime has a dozen, with no common ancestor of their own
            raise UserError(f"{path} is no classifier that this project exported ({type(error).__name__}).") from None

    def width(self) -> int:
        """How many numbers it puts out for a picture, by `about`; ValueError where that makes no sense."""
        return len(_classes(self.about)) if "classes" in self.about else int(self.about["features"])

    def outputs(self, pixels: np.ndarray) -> np.ndarray:
        """What it puts out for uint8 pixels of shape (n, size, size, 3): float32 of shape (n, outputs). By the thread that calls it;
        several may at once.

        Raises
        ------
        UserError
            Where the file's graph does not fit together.
        """
        try:
            found = self.session.run(None, {"pixels": pixels})[0]
            if found.shape != (len(pixels), self.count):
                raise ValueError("outputs")
            return found
        except Exception as error:  # as above
            raise UserError(f"{self.path} is no classifier that this project exported ({type(error).__name__}).") from None

    def read(self, data: bytes, name: str = "") -> np.ndarray:
        """A picture's pixels as `outputs` takes them; images.UnreadablePhoto where it is none, or a RAW one by its name:
        decoded it would be its thumbnail."""
        if reason := kinds.of(name, data[: kinds.HEAD]):
            raise images.UnreadablePhoto(reason)
        return images.square(data, self.size, self.fit, self.depth)


class Classifier(Network):
    """A network whose outputs are the probabilities of its `classes`, in their order; `about` has its data and metrics."""

    def width(self) -> int:
        self.classes = _classes(self.about)
        return len(self.classes)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """As `outputs`: float32 of shape (n, classes)."""
        return self.outputs(pixels)


def _classes(about: dict) -> list[str]:
    classes = about["classes"]
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise ValueError("classes")
    return classes
