"""What make installs: every package is pinned, and what pip can't bring is said in its own words."""

import re
import shutil
import subprocess
import sys

import pytest
from conftest import NO_INDEX, ROOT, offline

from tools import install


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_every_package_is_pinned_with_its_digests(path):
    packages = install.pinned(path)
    assert set(packages) == set(re.findall(r"^(\w[\w.-]*)(?:\[\S+\])?==", path.read_text(), re.MULTILINE)) != set()
    assert all("--hash=sha256:" in lines and lines.count("==") >= 1 for lines in packages.values())


def test_the_package_that_builds_others_is_among_those_of_the_pipeline():
    assert install.BUILDER in install.pinned(ROOT / "requirements/run.txt")


def test_a_package_that_cannot_be_had_is_named_in_pips_own_words(tmp_path):
    file = tmp_path / "some.txt"
    file.write_text(f"no-such-package==1.0 \\\n    --hash=sha256:{64 * '0'}\n")
    env = offline(**NO_INDEX, PIP_RETRIES="0")
    done = subprocess.run([sys.executable, ROOT / "tools/install.py", file], env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "no-such-package" in done.stderr and "pip's own words are above" in done.stderr
    assert f"Installing 1 packages of {file}" in done.stdout


@pytest.mark.parametrize("name", ["x$y", "it's", "a:b", 'q"q', "back`tick", "back\\slash"])
def test_a_path_that_shells_stumble_at_is_refused_before_set_up(tmp_path, name):
    (tmp_path / name).mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path / name)
    words = ["make", ".venv/bin/python", f"PYTHON={sys.executable}"]
    done = subprocess.run(words, cwd=tmp_path / name, capture_output=True, text=True)
    assert done.returncode and done.stderr.startswith("This folder has one of $ ") and not (tmp_path / name / ".venv").exists()


def test_other_signs_in_a_path_are_no_matter(tmp_path):
    folder = tmp_path / "a b #é (1) & % ; *"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    subprocess.run(["make", ".venv/bin/python", f"PYTHON={sys.executable}"], cwd=folder, check=True)
    assert (folder / ".venv/bin/python").exists()
