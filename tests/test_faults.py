"""What machines do to a run: no rights, no room, signals, settings of others. It ends with one true line, or goes on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import change, clone, git, offline

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace makes system calls fail")


def without_rights() -> list[str]:
    """What a command begins with, so that a file's mode counts for root as well."""
    if os.getuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may read everything, and nothing here takes that away")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def python(folder: Path, *words: str, before: tuple | list = (), **environment: str) -> tuple[int, list[str]]:
    """A module's exit status and lines, in a process of its own, without a network."""
    command = [*before, sys.executable, "-m", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=folder, env=offline(**environment), text=True, timeout=120, **streams)
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def mine(photos, tmp_path_factory) -> Path:
    """A folder of 30 photos a class."""
    folder = tmp_path_factory.mktemp("mine")
    for kind, of_kind in photos.items():
        (folder / kind).mkdir()
        for number, data in enumerate(of_kind[:30]):
            (folder / kind / f"{number}.jpg").write_bytes(data)
    return folder


@pytest.fixture
def folder(tmp_path, mine) -> Path:
    """A clone whose photos are that folder's."""
    clone(tmp_path / "clone")
    change(tmp_path / "clone", download__source="path", download__path=str(mine))
    return tmp_path / "clone"


# Signals, and DVC's end

SLOW = """\
import os, pathlib, sys, time
from concurrent.futures import ThreadPoolExecutor
from stages.core import stage

def main(params):
    pathlib.Path("pid").write_text(str(os.getpid()))
    if os.environ.get("STUCK"):
        with ThreadPoolExecutor(1) as pool:  # whose end waits for its work's
            pool.submit(time.sleep, 60).result()
    try:
        time.sleep(60)
    finally:
        pathlib.Path("tidied").touch()

if os.environ.get("IMPORTS"):  # as TensorFlow does, for seconds
    pathlib.Path("pid").write_text(str(os.getpid()))
    time.sleep(60)
stage.run("slow", main)
"""


@pytest.fixture
def slow(tmp_path) -> Path:
    """A clone whose DAG is one stage that takes a minute."""
    clone(tmp_path)
    (tmp_path / "stages/slow.py").write_text(SLOW)
    (tmp_path / "dvc.yaml").write_text("stages:\n  slow:\n    cmd: python -m stages.slow\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "slow")
    return tmp_path


def begun(process: subprocess.Popen, folder: Path) -> psutil.Process:
    """The stage's process, once it is at work."""
    for _ in range(600):
        with contextlib.suppress(OSError, ValueError):
            return psutil.Process(int((folder / "pid").read_text()))
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    raise AssertionError("the stage did not begin")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("what", ["", "STUCK", "IMPORTS"])
def test_a_signal_ends_a_stage_within_5_seconds_with_one_line(slow, number, what):
    words = [sys.executable, "-m", "stages.slow"]
    env = offline(**{what or "PLAIN": "1"})
    with subprocess.Popen(words, cwd=slow, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        begun(process, slow)
        time.sleep(0.3)
        start = time.monotonic()
        process.send_signal(number)
        said = process.communicate(timeout=10)[0]
        assert time.monotonic() - start < 5
    assert process.returncode == 1 and said == "slow: stopped.\n"
    assert (slow / "tidied").exists() == (not what)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(("shell", "more", "what"), [("sh", "", ""), ("bash", " && true", "STUCK"), ("sh", "", "IMPORTS")])
def test_a_stage_whose_dvc_has_ended_ends_within_5_seconds_and_touches_nothing(slow, number, shell, more, what):
    """With `&& true` the shell that DVC starts stays between."""
    (slow / "dvc.yaml").write_text(f"stages:\n  slow:\n    cmd: python -m stages.slow{more}\n")
    env = offline(SHELL=shutil.which(shell), **{what or "PLAIN": "1"})
    words = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(words, cwd=slow, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        started = begun(process, slow)
        process.send_signal(number)
        start = time.monotonic()
        assert started.wait(timeout=10) in (1, None) and time.monotonic() - start < 5
        said = process.communicate(timeout=10)[0]
    assert "slow: DVC, which started this, has ended: stopped. The same command goes on.\n" in said
    assert not (slow / "tidied").exists(), "what it would tidy up may be the next run's"


def test_a_stage_that_lost_its_dvc_before_it_looked_does_not_begin(slow):
    """Whoever started it has ended at once, and a process of another session has adopted it."""
    words = f"{sys.executable} -m stages.slow > said 2>&1 &"
    subprocess.run(["sh", "-c", words], cwd=slow, env=offline(DVC_STAGE="slow"), check=True, start_new_session=True)
    for _ in range(100):
        if (slow / "said").read_text().endswith("\n"):
            break
        time.sleep(0.1)
    assert (slow / "said").read_text() == "slow: DVC, which started this, has ended: stopped. The same command goes on.\n"
    assert not (slow / "pid").exists()


def test_a_stage_by_hand_outlives_its_shell(slow):
    words = f"nohup {sys.executable} -m stages.slow > said 2>&1 &"
    subprocess.run(["sh", "-c", words], cwd=slow, env=offline(), check=True, start_new_session=True)
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as process:
        started = begun(process, slow)
        time.sleep(2.5)
        assert started.is_running() and started.status() != psutil.STATUS_ZOMBIE
        started.terminate()
        process.kill()
