"""Read params.yaml and check it, whole, before anything starts.

    python -m littledata.core.params > params.schema.json      # what editors check params.yaml and recipes by

The file is read as YAML 1.2, so that `1e-05`, as `dvc exp run -S` may write it, is a number. A stage sees only the params that
dvc.yaml declares for it: one that it used without declaring would change and rerun nothing.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from littledata.core.errors import UserError

PARAMS = Path("params.yaml")
PIPELINES = (Path("dvc.yaml"), Path("publish/dvc.yaml"))
BLOCKS = ["block1", "block2", "block3", "block4", "block5"]  # VGG16's
# EfficientNetLite0 is littledata.networks.lite. The others are of keras.applications, but for those that are no plain graphs of layers
# (MobileNetV3, ConvNeXt, NASNet, ...) and the first EfficientNet, which Keras builds in another way where it loads its weights.
BACKBONES = (
    "VGG16", "EfficientNetLite0", "VGG19", "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2",
    "DenseNet121", "DenseNet169", "DenseNet201", "MobileNet", "MobileNetV2", "EfficientNetV2B0", "EfficientNetV2B1",
    "EfficientNetV2B2", "EfficientNetV2B3", "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L", "InceptionV3", "Xception",
)  # fmt: skip

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what NumPy and Keras take
Share = Annotated[float, Field(gt=0, lt=1)]
# Strict: the number 1 is all the photos that a class may have, 1.0 is no share.
Photos = Annotated[
    Annotated[int, Field(ge=1)] | Share,
    Field(description="a number of photos a class, 1 or more, or a share of each class' photos, such as 0.2"),
]
Pooling = Literal["flatten", "average"]


class Section(BaseModel):
    """Read-only params, by attribute, or by key as in a plain dictionary: `params.top.lr`. `model_dump` gives such a dictionary.

    Types are strict: `true` is no 1, and text no number. A whole number stands for a float.
    """

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,  # one validator for the whole tree, made when it is checked: half of this module's import
        json_schema_extra=lambda schema: schema.pop("required"),  # a recipe names some of the keys
    )

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __getattr__(self, name: str) -> Any:
        if name in type(self).model_fields:
            raise AttributeError(f"dvc.yaml does not declare the param {name} ({type(self).__name__}) for this stage")
        raise AttributeError(name)


class Download(Section):
    source: Literal["kaggle", "microsoft", "cifar10", "path", "bucket"]
    path: str | None = Field(description="a folder, a zip, a bucket's address or a list, or null")
    sha256: str | None = Field(min_length=64, max_length=64, description="64 hexadecimal digits, or null")


class Subsample(Section):
    train: Photos
    validation: Photos
    test: Photos
    remaining: bool
    parts: Annotated[int, Field(ge=0, le=0)] | Annotated[int, Field(ge=2)] = Field(description="0, or a whole number, 2 or more")
    part: int = Field(ge=1)
    part_is: Literal["validation", "test"]
    order: Literal["random", "archive"]
    seed: Seed


class Augmentation(Section):
    flip: bool
    shear: float = Field(ge=0, le=1)
    zoom: float = Field(ge=0, le=0.9)
    rotation: float = Field(ge=0, le=180)
    shift: float = Field(ge=0, le=0.3)
    colour: float = Field(ge=0, le=0.9)


class Training(Section):
    """What every level has."""

    dropout: float = Field(ge=0, le=0.95)
    optimizer: Literal["rmsprop", "sgd", "adam", "adamw"]
    lr: float = Field(gt=0, le=1000)
    schedule: Literal["constant", "cosine"]
    batch_size: int = Field(ge=1, le=4096)
    epochs: int = Field(ge=1, le=100_000)


class SmallCNN(Training):
    image_size: int = Field(ge=32, le=512)
    filters: list[Annotated[int, Field(ge=1, le=1024)]] = Field(
        min_length=1, max_length=6, description="a list of 1 to 6 whole numbers, 1 to 1024"
    )
    first_stride: int = Field(ge=1, le=8)
    batch_norm: bool
    pooling: Pooling
    units: int = Field(ge=0, le=8192)
    mirror: bool
    augmentation: Augmentation


class Activations(Section):
    views: int = Field(ge=1, le=1000)
    crops: Annotated[int, Field(ge=1, le=1)] | Annotated[int, Field(ge=5, le=5)] = Field(description="1 or 5")
    augmentation: Augmentation


class Top(Training):
    views: int | None = Field(ge=1, description="a whole number, 1 or more, or null for all")
    listed: bool
    pooling: Pooling
    units: int = Field(ge=0, le=8192)
    l1: float = Field(ge=0, le=1000)
    l2: float = Field(ge=0, le=1000)


class Finetune(Training):
    unfreeze: list[str] = Field(min_length=1, description="a list of what layers' names begin with, such as [block5]")
    l1: float = Field(ge=0, le=1000)
    l2: float = Field(ge=0, le=1000)
    warmup: int = Field(ge=0)
    ema: float = Field(ge=0, le=0.9999)
    look: int | None = Field(ge=1, description="a whole number of photos, 1 or more, or null for once an epoch")
    patience: int = Field(ge=0)


class Export(Section):
    level: Literal["best", "top", "finetune"]


class Params(Section):
    """All of params.yaml, or what a stage may see of it."""

    seed: Seed
    backbone: Literal[BACKBONES]  # type: ignore[valid-type]
    image_size: int = Field(ge=48, le=1024)
    fit: Literal["squash", "crop", "pad"]
    preprocessing: Literal["imagenet", "rescale"]
    download: Download
    subsample: Subsample
    small_cnn: SmallCNN
    activations: Activations
    top: Top
    finetune: Finetune
    export: Export


def load(path: Path = PARAMS) -> Params:
    """All params, checked.

    Raises
    ------
    UserError
        Where the file can't be read, or as `check` does.
    """
    return check(read(path), path)


def read(path: Path) -> Any:
    """What a YAML 1.2 file holds. Raises UserError where it can't be read."""
    try:
        return YAML(typ="safe", pure=True).load(path)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. Restore it with `git restore {path}`.") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def check(tree: Any, path: Path) -> Params:
    """Check a tree of all params, which comes from a file at `path`.

    Raises
    ------
    UserError
        Naming the first key that is unknown, missing or of the wrong kind, or params that don't go together.
    """
    try:
        params = Params.model_validate(tree)
    except ValidationError as error:
        problems = error.errors()
        first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
        raise UserError(f"{path}: {_wrong(first['loc'], tree)}") from None
    for problem in _contradictions(params):
        raise UserError(f"{path}: {problem}")
    return params


def _wrong(place: tuple[int | str, ...], tree: Any) -> str:
    """Say what is wrong with what pydantic did not take, and what is expected."""
    section, name, value = Params, "", tree
    for key in place:
        full = f"{name}.{key}" if name else f"{key}"
        if key not in section.model_fields:
            return f"unknown key {full}; known here: {', '.join(section.model_fields)}."
        if key not in value:
            return f"{full} is missing."
        name, value, kind = full, value[key], section.model_fields[key].annotation
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            text = " (text)" if isinstance(value, str) else ""
            return f"{name} is {value!r}{text}; expected {_expected(section.model_json_schema()['properties'][key])}."
        section = kind
    return f"{name or 'the file'} is {value!r}; expected the keys {', '.join(section.model_fields)}."


def _expected(schema: Mapping[str, Any]) -> str:
    """A param's JSON schema in words."""
    if "description" in schema:
        return schema["description"]
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema["type"] == "boolean":
        return "true or false"
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    least = f"above {schema['exclusiveMinimum']:g}" if "exclusiveMinimum" in schema else f"{schema['minimum']:g} or more"
    return ", ".join([kind, least, *([f"{schema['maximum']:.15g} at most"] if "maximum" in schema else [])])


def _contradictions(params: Params) -> Iterator[str]:
    """What is wrong with params that are right one by one."""
    draw, small_cnn, blocks = params.subsample, params.small_cnn, params.finetune.unfreeze
    if draw.parts and draw.part > draw.parts:
        yield f"subsample.part is {draw.part}, subsample.parts is {draw.parts}; expected 1 to {draw.parts}."
    if draw.parts == 2 and draw.part_is == "test":
        yield "subsample.parts is 2; expected 3 or more where subsample.part_is is test: one part trains."
    if (params.top.views or 1) > params.activations.views:
        yield (
            f"top.views is {params.top.views}, activations.views makes {params.activations.views}: raise that, or ask for fewer."
        )
    if not _fits(small_cnn):
        count = len(small_cnn.filters)
        yield f"small_cnn.image_size {small_cnn.image_size} is too small for {count} blocks of small_cnn.filters: raise it or drop one."
    if params.backbone == "VGG16" and (len(blocks) == len(BLOCKS) or blocks != BLOCKS[-len(blocks) :]):
        yield f"finetune.unfreeze is {blocks}; expected the last blocks of VGG16 in order, such as [block5] or [block4, block5]."


def _fits(small_cnn: SmallCNN) -> bool:
    """Whether every block of level 1 has something left to convolve and to pool."""
    side = small_cnn.image_size
    for number in range(len(small_cnn.filters)):
        stride = 1 if number else small_cnn.first_stride
        side = (-(-side // stride) if small_cnn.batch_norm else (side - 3) // stride + 1) // 2
    return side > 0


def chosen(declared: Mapping, params: Params) -> Params:
    """The params that a stage declares in dvc.yaml: to read another one is an AttributeError."""
    return _part(params, [key.split(".") for key in declared.get("params", [])])


def _part(section: Any, keys: list[list[str]]) -> Any:
    picked = {}
    for name in dict.fromkeys(key[0] for key in keys):
        below = [key[1:] for key in keys if key[0] == name]
        value = getattr(section, name)
        picked[name] = value if [] in below else _part(value, below)
    return type(section).model_construct(**picked)


def declared(stage: str) -> dict:
    """Read what dvc.yaml or publish/dvc.yaml declares of a stage."""
    return {name: entry for path in PIPELINES for name, entry in read(path)["stages"].items()}[stage]


def value(params: Mapping, name: str) -> Any:
    """A param, or a part of the tree, by its dotted name.

    Raises
    ------
    KeyError
        Where there is none.
    """
    node: Any = params
    for key in name.split("."):
        if not isinstance(node, Mapping):
            raise KeyError(name)
        node = node[key]
    return node


def leaves(tree: Mapping | Section, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The (dotted name, value) of everything in params, or in a tree, that is no section of them itself."""
    for key, value in tree if isinstance(tree, Section) else tree.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping | Section) else [(f"{prefix}{key}", value)]


if __name__ == "__main__":
    print(json.dumps(Params.model_json_schema(), indent=1))
