"""The classifier as a file that needs nothing else: pixels in, a probability for every class out, preprocessing inside.

The level that `choose` chose with the frozen layers below it. Writes models/classifier.onnx, which `predict` runs by ONNX Runtime, and
models/classifier.keras. Both read photos of shape (n, height, width, 3), uint8 RGB, resized as `images.resize` does, and
both say what they are: `about` in the ONNX file's metadata, about.json in the other one, which is a zip.

They name the photos, the model and its metrics by content. They can't name the Git commit that has them in its dvc.lock, since
it comes after them. `git log -S` with dvc.lock's md5 of the file finds it.
"""

from littledata.core import process

process.begin("export", __name__)

import json

import onnx

from littledata.core import files, stage
from littledata.export import assemble, to_onnx
from littledata.networks import models
from littledata.pictures import deep, images
from littledata.scores import levels, metrics
from littledata.splits import dataset


def main(params) -> None:
    manifest = dataset.read_manifest()
    source = json.loads(assemble.SOURCE.read_text())
    level, why = levels.handed_out()
    about = {
        "classes": dataset.class_names(manifest),
        "image_size": images.whole(params.image_size, params.activations.crops),
        "crops": params.activations.crops,
        "fit": params.fit,
        "depth": deep.read().about(),
        "backbone": params.backbone,
        "preprocessing": params.preprocessing,
        "level": {"name": levels.LEVELS[level], "why": why},
        "model": {"file": str(assemble.model_of(level)), "sha256": files.sha256_of(assemble.model_of(level))},
        "data": {
            "source": source["source"],
            "sha256": source["sha256"],
            "manifest_sha256": files.sha256_of(dataset.MANIFEST),
            "photos": {split: len(dataset.of_split(manifest, split)) for split in dataset.splits(manifest)},
        },
        "metrics": {
            split: {name: value for name, value in scores.items() if name != "n"} for split, scores in metrics.read()[level].items()
        },
    }
    parts, size, crops = assemble.parts(params, level), params.image_size, params.activations.crops
    models.save(assemble.to_keras(parts, size, crops), assemble.KERAS, about)
    with files.whole(assemble.ONNX) as file:
        onnx.save(to_onnx.convert(parts, size, crops, about), file)


if __name__ == "__main__":
    stage.run("export", main)
