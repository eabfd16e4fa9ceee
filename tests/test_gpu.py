"""NVIDIA's driver without a device, or without CUDA, changes nothing.

No GPU was at hand: what TensorFlow does with one was not run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NO_INDEX, ROOT, offline
from test_speed import IN_THREADS

from littledata.features import gpu
from tools import gpu as installer

pytestmark = pytest.mark.skipif(
    gpu.used() or not shutil.which("gcc") or sys.platform != "linux", reason="for Linux with gcc, without a GPU"
)
DRIVER = """
int cuInit(unsigned flags) {{ return {status}; }}
int cuDeviceGetCount(int *count) {{ *count = {devices}; return 0; }}
"""
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
DRIVERS = {
    "no device, says cuInit": DRIVER.format(status=NO_DEVICE, devices=1),
    "no device, says the count": DRIVER.format(status=0, devices=0),
    "something else": "int nothing;",
    "a device": DRIVER.format(status=0, devices=1),
}


@pytest.fixture
def driver(tmp_path):
    """What gives the environment in which NVIDIA's driver is a library of this source."""

    def with_driver(source: str) -> dict[str, str]:
        subprocess.run(["gcc", "-shared", "-xc", "-", "-o", tmp_path / gpu.DRIVER], input=source, text=True, check=True)
        return os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}

    return with_driver


def printed(code: str, env: dict[str, str], *words) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_driver_alone_changes_no_byte_and_imports_no_tensorflow(pipeline, driver, kind):
    """ncnn computes as ever. Where there is a device, a line says what it would take."""
    weights = pipeline / "models/backbone.weights.h5"
    env = driver(DRIVERS[kind])
    assert printed("from littledata.features import gpu; print(gpu.devices())", env) == f"{int(kind == 'a device')}\n"
    said = f"{gpu.WITHOUT_CUDA}\n" if kind == "a device" else ""
    assert printed(IN_THREADS, env, weights) == said + printed(IN_THREADS, dict(os.environ), weights)


def test_a_device_with_cuda_that_tensorflow_does_not_see_is_a_line(driver, tmp_path):
    """As with a driver that is too old: here one that TensorFlow can do nothing with, and packages of CUDA that are empty."""
    for name in gpu.missing():
        (folder := tmp_path / f"{name.replace('-', '_')}-1.0.dist-info").mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    env = driver(DRIVERS["a device"]) | {"PYTHONPATH": str(tmp_path)}
    code = "from littledata.features import gpu; print(gpu.missing(), gpu.used())"
    assert printed(code, env) == f"{gpu.NOT_SEEN}\n[] False\n"


def test_cuda_is_what_tensorflow_names(driver):
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= set(gpu.missing())
    pins = Path(ROOT, installer.PACKAGES).read_text()
    assert all(f"\n{name}==" in pins for name in gpu.missing())


def install(env: dict[str, str], code: str = "") -> subprocess.CompletedProcess:
    """`python -m tools.gpu` where nothing can be downloaded, after some code, and where pip would install nothing if it could."""
    env = env | offline(**NO_INDEX, PIP_RETRIES="0", PIP_DRY_RUN="1", LD_LIBRARY_PATH=env["LD_LIBRARY_PATH"])
    code = f"{code}\nimport runpy; runpy.run_module('tools.gpu', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)


def test_a_device_gets_cuda_and_what_is_needed_for_it_is_said_first(driver):
    assert not (done := install(driver(DRIVERS["no device, says the count"]))).stdout + done.stderr
    done = install(driver(DRIVERS["a device"]))
    first, *_ = done.stdout.splitlines()
    assert first.startswith("An NVIDIA device without CUDA: 2.5 GB are downloaded for it, 5 GB on disk.") and done.returncode == 1
    assert "nvidia-" in done.stderr and done.stderr.splitlines()[-1] == f"CUDA could not be installed. {installer.LEAVE}"
    full = "import shutil; shutil.disk_usage = lambda path: shutil._ntuple_diskusage(5e9, 4e9, 1e9)"
    done = install(driver(DRIVERS["a device"]), full)
    assert done.returncode == 1 and done.stderr.startswith("CUDA needs 2.5 GB of disk and 1.0 GB are free")


def test_gpu_0_hides_the_device_from_every_process():
    def told(*words: str) -> str:
        rule = "all: ; @echo $$CUDA_VISIBLE_DEVICES"
        env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        words = ["make", "-s", "-f", "Makefile", "-f", "-", "all", *words]
        return subprocess.run(words, cwd=ROOT, env=env, input=rule, capture_output=True, text=True, check=True).stdout.strip()

    assert told("GPU=0") == "-1" and told() == ""
