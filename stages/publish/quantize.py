"""The exported classifier in int8: a quarter of its size, and faster where the processor multiplies bytes.

Static quantisation by ONNX Runtime: each weight and each layer's output as 8 bits, scaled by what photos of the training
split give. What little costs nothing stays in float32 (`plan`). Writes models/classifier.int8.onnx, and metrics/int8.csv: its
scores on test photos beside those of float32, on what share of them both say the same class, and which level both are and why.
"""

from littledata.core import process

process.begin("quantize", __name__)

import errno
import json

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from littledata.core import environment, stage, tables
from littledata.core.progress import progress
from littledata.export import quantize
from littledata.scores import levels, metrics, predicted
from littledata.splits import dataset


def main(params) -> None:
    manifest = dataset.read_manifest()
    metadata = {entry.key: entry.value for entry in onnx.load(quantize.FLOAT32, load_external_data=False).metadata_props}
    about = json.loads(metadata["about"])
    try:
        quantize.quantize(quantize.FLOAT32, quantize.INT8, quantize.Photos(dataset.of_split(manifest, "train"), about))
    except DecodeError:  # ONNX does not look whether its own files are whole before it reads them again
        raise OSError(errno.ENOSPC, "a temporary file is not whole") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = environment.THREADS
    session = onnxruntime.InferenceSession(quantize.INT8, options, providers=["CPUExecutionProvider"])
    photos, outputs = dataset.of_split(manifest, "test"), []
    with progress(len(photos), "test photos") as bar:
        for pixels in quantize.batches(photos, about):
            outputs.append(session.run(None, {"pixels": pixels})[0])
            bar.update(len(pixels))
    probabilities = np.concatenate(outputs).astype(np.float64)
    probabilities /= probabilities.sum(1, keepdims=True)
    level, why = levels.handed_out()
    tested, labels, float32, _ = predicted.read(level, "test")
    assert tested == [photo.file for photo in photos]
    rows = []
    for name, answers in ("float32", float32), ("int8", probabilities):
        same = float(np.mean(answers.argmax(1) == float32.argmax(1)))
        rows.append([name, *metrics.scores(labels, answers).values(), round(same, 6), f"{levels.LEVELS[level]}: {why}"])
    tables.write(quantize.SCORES, ["classifier", *metrics.FIELDS, "same_class_as_float32", "level"], rows)


if __name__ == "__main__":
    stage.run("quantize", main)
