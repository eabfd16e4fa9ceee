"""What make installs: every package is pinned, and what pip can't bring is said in its own words. The package installs by itself."""

import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from conftest import NO_INDEX, ROOT, git, offline
from PIL import Image

from tools import install

WHEELS = ROOT / ".cache/wheels"
QUIET = ("--quiet", "--disable-pip-version-check", "--no-index")


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_every_package_is_pinned_with_its_digests(path):
    packages = install.pinned(path)
    assert path.stem != "run" or install.BUILDER in packages
    assert set(packages) == set(re.findall(r"^(\w[\w.-]*)(?:\[\S+\])?==", path.read_text(), re.MULTILINE)) != set()
    assert all("--hash=sha256:" in lines and lines.count("==") >= 1 for lines in packages.values())


def test_a_package_that_cannot_be_had_is_named_in_pips_own_words(tmp_path):
    file = tmp_path / "some.txt"
    file.write_text(f"no-such-package==1.0 \\\n    --hash=sha256:{64 * '0'}\n")
    env = offline(**NO_INDEX, PIP_RETRIES="0")
    done = subprocess.run([sys.executable, ROOT / "tools/install.py", file], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "no-such-package" in done.stderr and "pip's own words are above" in done.stderr
    assert f"Installing 1 packages of {file}" in done.stdout


@pytest.mark.parametrize("name", ["x$y", "it's", "a:b", 'q"q', "back`tick", "back\\slash", "a b #é (1) & % ; *"])
def test_a_path_that_shells_stumble_at_is_refused_before_set_up(tmp_path, name):
    (tmp_path / name).mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path / name)
    words = ["make", ".venv/bin/python", f"PYTHON={sys.executable}"]
    done = subprocess.run(words, cwd=tmp_path / name, capture_output=True, text=True)
    made = (tmp_path / name / ".venv").exists()
    assert made == (not done.returncode) == (" " in name) and (made or done.stderr.startswith("This folder has one of $ "))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package's wheel, built offline from what the working tree has in git, or would have."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in git(ROOT, "ls-files", "littledata", "pyproject.toml", "README.md", "LICENSE").splitlines():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "tree" / name)
    words = [*QUIET, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "tree"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *words], env=offline(**NO_INDEX), check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_library_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"littledata", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    assert {name for name in names if name.startswith("littledata/")} == {*git(ROOT, "ls-files", "littledata").splitlines()}


def test_the_package_alone_predicts_offline_without_tensorflow_and_dvc(wheel, light, photos, tmp_path):
    """In an empty environment that gets what the wheel's metadata asks for, from the wheels that set-up has kept."""
    if not WHEELS.exists():
        subprocess.run(["make", ".cache/wheels"], cwd=ROOT, check=True)
    start, home, env = time.monotonic(), tmp_path / "empty", offline(**NO_INDEX, PYTHONPATH="")
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    before = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    subprocess.run([home / "bin/python", "-m", "pip", "install", *QUIET, "--find-links", WHEELS, wheel], env=env, check=True)
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) - before
    installed = time.monotonic()

    def ran(*words: object) -> subprocess.CompletedProcess:
        return subprocess.run([*map(str, words)], cwd=tmp_path, env=env, capture_output=True, text=True)

    for package in "tensorflow", "dvc":
        assert f"No module named '{package}'" in ran(home / "bin/python", "-c", f"import {package}").stderr
    (tmp_path / "cat.jpg").write_bytes(photos["cat"][0])
    with Image.open(tmp_path / "cat.jpg") as image:
        image.save(tmp_path / "cat.heic", quality=-1)  # lossless
    answers = ran(home / "bin/predict", "cat.jpg", "cat.heic", "--model", light)
    first, second = (line.split() for line in answers.stdout.splitlines())
    assert (first[2], second[2]) == ("cat.jpg", "cat.heic") and first[0] == second[0]
    assert float(first[1]) == pytest.approx(float(second[1]), abs=0.01)
    seconds = time.monotonic() - installed
    print(f"{size / 1e6:.0f} MB, installed in {installed - start:.0f} s, predicted in {seconds:.1f} s")
    assert size < 500e6

    for command, words, line in (
        ("predict", ["cat.jpg"], "Which classifier? Name its file: --model FILE"),
        ("submit", ["test1.zip"], "Which classifier? Name its file: --model FILE"),
        ("predict", [".", "--to", "predictions", "--model", light], "pip install 'littledata[parquet]'"),
    ):
        asked = ran(home / "bin" / command, *words)
        assert asked.returncode == 1 and line in asked.stderr and len(asked.stderr.splitlines()) == 1
