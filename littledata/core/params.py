"""Read params.yaml and check it, whole, before anything starts.

The file is read as YAML 1.2, so that `1e-05`, as `dvc exp run -S` may write it, is a number. A stage sees only
the params that dvc.yaml declares for it: one that it used without declaring would change and rerun nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

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

Check = tuple[str, Callable[[Any], bool]]  # what is expected, in words, and whether a value is that


def _integer(low: int, high: float = float("inf")) -> Check:
    words = f"a whole number, {low} or more" + (f", {high} at most" if high < float("inf") else "")
    return words, lambda v: type(v) is int and low <= v <= high


def _number(low: float, high: float = float("inf"), *, above: bool = False) -> Check:
    limit = f"above {low:g}" if above else f"{low:g} or more"
    words = f"a number, {limit}" + (f", {high:g} at most" if high < float("inf") else "")
    return words, lambda v: type(v) in (int, float) and (low < v if above else low <= v) and v <= high


def _one_of(*names: str) -> Check:
    return "one of " + ", ".join(names), lambda v: v in names


def _text(words: str, *, length: int | None = None) -> Check:
    return f"{words}, or null", lambda v: v is None or (type(v) is str and (length is None or len(v) == length))


def _names(value: Any) -> bool:
    return type(value) is list and len(value) > 0 and all(type(name) is str for name in value)


def _whole_or_part(value: Any) -> bool:
    return (type(value) is int and value > 0) or (type(value) is float and 0 < value < 1)


def _filters(value: Any) -> bool:
    return type(value) is list and 0 < len(value) <= 6 and all(type(v) is int and 0 < v <= 1024 for v in value)


SEED = _integer(0, 2**32 - 1)  # what NumPy and Keras take
PHOTOS: Check = ("a number of photos a class, 1 or more, or a share of each class' photos, such as 0.2", _whole_or_part)
VIEWS: Check = ("a whole number, 1 or more, or null for all", lambda v: v is None or (type(v) is int and v >= 1))
LOOK: Check = ("a whole number of photos, 1 or more, or null for once an epoch", VIEWS[1])
TRUE_OR_FALSE: Check = ("true or false", lambda v: type(v) is bool)
CROPS: Check = ("1 or 5", lambda v: type(v) is int and v in (1, 5))
AUGMENTATION: dict[str, Check] = {
    "flip": TRUE_OR_FALSE,
    "shear": _number(0, 1),
    "zoom": _number(0, 0.9),
    "rotation": _number(0, 180),
    "shift": _number(0, 0.3),
    "colour": _number(0, 0.9),
}
REGULARISATION: dict[str, Check] = {"dropout": _number(0, 0.95), "l1": _number(0, 1000), "l2": _number(0, 1000)}
TRAINING: dict[str, Check] = {
    "seed": SEED,
    "class_weights": TRUE_OR_FALSE,
    "optimizer": _one_of("rmsprop", "sgd", "adam", "adamw"),
    "lr": _number(0, 1000, above=True),
    "momentum": _number(0, 0.9999),
    "schedule": _one_of("constant", "cosine"),
    "warmup": _integer(0),
    "ema": _number(0, 0.9999),
    "label_smoothing": _number(0, 0.5),
    "mixup": ("0, or a number, 0.01 or more, 100 at most", lambda v: type(v) in (int, float) and (v == 0 or 0.01 <= v <= 100)),
    "batch_size": _integer(1, 4096),
    "epochs": _integer(1, 100_000),
    "patience": _integer(0),
}
SCHEMA: dict[str, Any] = {
    "image_size": _integer(48, 1024),
    "fit": _one_of("squash", "crop", "pad"),
    "backbone": _one_of(*BACKBONES),
    "preprocessing": _one_of("imagenet", "rescale"),
    "download": {
        "source": _one_of("kaggle", "microsoft", "cifar10", "path", "bucket"),
        "path": _text("a folder, a zip, a bucket's address or a list"),
        "sha256": _text("64 hexadecimal digits", length=64),
    },
    "subsample": {
        "train": PHOTOS,
        "validation": PHOTOS,
        "test": PHOTOS,
        "rest": TRUE_OR_FALSE,
        "folds": ("0, or a whole number, 2 or more", lambda v: type(v) is int and (v == 0 or v >= 2)),
        "fold": _integer(1),
        "folded": _one_of("validation", "test"),
        "order": _one_of("random", "archive"),
        "seed": SEED,
    },
    "small_cnn": {
        "image_size": _integer(32, 512),
        "filters": ("a list of 1 to 6 whole numbers, 1 to 1024", _filters),
        "first_stride": _integer(1, 8),
        "batch_norm": TRUE_OR_FALSE,
        "pooling": _one_of("flatten", "average", "max", "both"),
        "units": _integer(0, 8192),
        "mirror": TRUE_OR_FALSE,
        **REGULARISATION,
        **TRAINING,
        "augmentation": AUGMENTATION,
    },
    "export": {"level": _one_of("best", "top", "finetune")},
    "activations": {"views": _integer(1, 1000), "crops": CROPS, "seed": SEED, "augmentation": AUGMENTATION},
    "top": {
        "views": VIEWS,
        "listed": TRUE_OR_FALSE,
        "scaling": TRUE_OR_FALSE,
        "pooling": _one_of("flatten", "average", "max", "both"),
        "units": _integer(0, 8192),
        **REGULARISATION,
        **TRAINING,
    },
    "finetune": {
        "unfreeze": ("a list of what layers' names begin with, such as [block5]", _names),
        "views": VIEWS,
        "mirror": TRUE_OR_FALSE,
        "block_pace": _number(0, 1, above=True),
        **REGULARISATION,
        **TRAINING,
        "look": LOOK,
    },
}


def load(path: Path = PARAMS) -> dict:
    """All params, checked.

    Raises
    ------
    UserError
        Where the file can't be read, or as `check` does.
    """
    params = read(path)
    check(params, path)
    return params


def read(path: Path) -> Any:
    """What a YAML 1.2 file holds. Raises UserError where it can't be read."""
    try:
        return YAML(typ="safe", pure=True).load(path)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}. Restore it with `git restore {path}`.") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def check(params: Any, path: Path) -> None:
    """Check all params, which come from a file at `path`.

    Raises
    ------
    UserError
        Naming the first key that is unknown, missing or of the wrong kind.
    """
    _check(params, SCHEMA, path, "")
    folds, fold = params["subsample"]["folds"], params["subsample"]["fold"]
    if folds and fold > folds:
        raise UserError(f"{path}: subsample.fold is {fold}, subsample.folds are {folds}; expected 1 to {folds}.")
    if folds == 2 and params["subsample"]["folded"] == "test":
        raise UserError(f"{path}: subsample.folds are 2; expected 3 or more where subsample.folded is test: one part trains.")
    for level in "top", "finetune":
        if (params[level]["views"] or 1) > params["activations"]["views"]:
            raise UserError(
                f"{path}: {level}.views is {params[level]['views']}, activations.views makes {params['activations']['views']}: "
                "raise that, or ask for fewer."
            )
    if not _fits(params["small_cnn"]):
        size, filters = params["small_cnn"]["image_size"], len(params["small_cnn"]["filters"])
        raise UserError(
            f"{path}: small_cnn.image_size {size} is too small for {filters} blocks of small_cnn.filters: raise it or drop one."
        )
    blocks = params["finetune"]["unfreeze"]
    if params["backbone"] == "VGG16" and (len(blocks) == len(BLOCKS) or blocks != BLOCKS[-len(blocks) :]):
        raise UserError(
            f"{path}: finetune.unfreeze is {blocks}; expected the last blocks of VGG16 in order, "
            "such as [block5] or [block4, block5]."
        )


def _fits(small_cnn: Mapping) -> bool:
    """Whether every block of level 1 has something left to convolve and to pool."""
    side, padded = small_cnn["image_size"], small_cnn["batch_norm"]
    for number in range(len(small_cnn["filters"])):
        stride = 1 if number else small_cnn["first_stride"]
        side = (-(-side // stride) if padded else (side - 3) // stride + 1) // 2
    return side > 0


def _check(value: Any, schema: Any, path: Path, key: str) -> None:
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise UserError(f"{path}: {key or 'the file'} is {value!r}; expected the keys {', '.join(schema)}.")
        prefix = f"{key}." if key else ""
        for name in value:
            if name not in schema:
                raise UserError(f"{path}: unknown key {prefix}{name}; known here: {', '.join(schema)}.")
        for name in schema:
            if name not in value:
                raise UserError(f"{path}: {prefix}{name} is missing.")
            _check(value[name], schema[name], path, f"{prefix}{name}")
    else:
        words, is_right = schema
        if not is_right(value):
            kind = " (text)" if isinstance(value, str) else ""
            raise UserError(f"{path}: {key} is {value!r}{kind}; expected {words}.")


def for_stage(stage: str) -> "Params":
    """The params that dvc.yaml declares for `stage`, nested as in params.yaml; all of params.yaml is checked."""
    return chosen(declared(stage), load())


def chosen(declared: Mapping, params: Mapping) -> "Params":
    """Pick the params that a stage declares in dvc.yaml, nested as they are and read-only."""
    picked: dict = {}
    for key in declared.get("params", []):
        target = picked
        *parents, last = key.split(".")
        for name in parents:
            target = target.setdefault(name, {})
        target[last] = value(params, key)
    return Params(picked)


def declared(stage: str) -> dict:
    """Read what dvc.yaml or publish/dvc.yaml declares of a stage."""
    stages: dict = {}
    for path in PIPELINES:
        stages |= YAML(typ="safe", pure=True).load(path)["stages"]
    return stages[stage]


def value(params: Mapping, name: str) -> Any:
    """A param, or a part of the tree, by its dotted name.

    Raises
    ------
    KeyError
        Where there is none.
    """
    found: Any = params
    for key in name.split("."):
        if not isinstance(found, Mapping):
            raise KeyError(name)
        found = found[key]
    return found


def leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The (dotted name, value) of everything in a tree that is no mapping itself."""
    for key, value in tree.items():
        yield from leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]


class Params(Mapping):
    """Read-only params, by key or by attribute: `params["top"]["lr"]` is `params.top.lr`."""

    def __init__(self, tree: Mapping) -> None:
        self._tree = {key: Params(value) if isinstance(value, Mapping) else value for key, value in tree.items()}

    def __getitem__(self, key: str) -> Any:
        return self._tree[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["_tree"][key]
        except KeyError:
            raise AttributeError(key) from None
