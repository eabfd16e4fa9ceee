"""`make back`, after runs that ended and runs that were killed: real ones, of the first two stages."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import change, git, offline, run, settings, stages_run

from studies.faults.ground import of_stage
from tools import back

KILLED = "An experiment that was killed left HEAD detached: back on the branch Versuch/1."


def machine(folder: Path) -> dict[str, str]:
    """The environment of a project's runs: the archive is at hand, Git knows nobody."""
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return {"DOGS_VS_CATS_ARCHIVE": str(folder.parent / "train.zip")} | nobody


def do(folder: Path, *command: str, check: bool = True) -> str:
    return run(folder, *command, check=check, **machine(folder))


@pytest.fixture
def project(cut, train_zip, tmp_path) -> Path:
    """A copy of it in which nothing has run yet, beside the archive."""
    shutil.copy(train_zip, tmp_path / "train.zip")
    return shutil.copytree(cut, tmp_path / "Anna's #1 Hündin")


def edit(folder: Path) -> None:
    """Edits of every kind, none of them a run's."""
    readme, params = folder / "README.md", folder / "params.yaml"
    readme.write_text("staged\n" + readme.read_text())
    git(folder, "add", "README.md")
    readme.write_text(readme.read_text() + "not staged\n")
    params.write_text("# mine\n" + params.read_text())
    (folder / "docs/tutorial.md").unlink()
    for name in ("staged ü.txt", "own #1.txt", "metrics/own.txt"):
        (folder / name).write_text(name)
    git(folder, "add", "staged ü.txt")


def state(folder: Path) -> tuple:
    """Where HEAD is, all that differs from it, staged or not, what is in no index, and Git's stash."""
    new = git(folder, "ls-files", "-z", "--others", "--exclude-standard").split("\0")[:-1]
    asked = ("status", "--porcelain", "--branch"), ("diff", "--staged", "--binary"), ("diff", "--binary"), ("stash", "list")
    return *(git(folder, *words) for words in asked), {name: (folder / name).read_bytes() for name in new}


def halted(process: subprocess.Popen, stage: str) -> None:
    """Halt the stage that has just begun: it still loads its modules."""
    while not (found := of_stage(process, stage)):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.005)
    found.suspend()


def buried(folder: Path) -> None:
    """Wait until init has buried what was killed: until then DVC takes it for alive."""
    for note in filter(Path.exists, (folder / note for note in (*back.NOTES, ".dvc/tmp/rwlock"))):
        for number in re.findall(r'"pid": (\d+)', note.read_text()):
            while psutil.pid_exists(int(number)):
                time.sleep(0.1)


@contextlib.contextmanager
def started(folder: Path, stage: str, *words: str) -> Iterator[subprocess.Popen]:
    """A run that halts inside of a stage, or (stage "") before the first, where DVC writes into a pipe that nobody reads."""
    pipe = folder / ".dvc/tmp/repro.dat"
    if not stage:
        pipe.parent.mkdir(parents=True, exist_ok=True)
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
    process = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=folder, env=offline(**machine(folder)), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as in a terminal, however the tests were started
    )  # fmt: skip
    try:
        if stage:
            said = ""
            while f"Running stage '{stage}'" not in said:
                assert (line := process.stdout.readline()), said
                said += line
            halted(process, stage)
        else:
            while (folder / ".git/HEAD").read_text().startswith("ref:"):
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.01)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if not stage:
            pipe.unlink()


@pytest.mark.parametrize("stage, edited", [("download", True), ("subsample", False), ("", True)])
def test_from_a_killed_run_one_command_leads_back_to_all_that_was(project, stage, edited):
    """The last one in `dvc exp save`."""
    if edited:
        edit(project)
    before = state(project)
    with started(project, stage, "tools.repro"):
        if stage and edited:
            assert do(project, "tools.repro", check=False).startswith("DVC still runs here, as process ")
    output = do(project, "tools.back")
    assert state(project) == before
    assert "The workspace is on the branch Versuch/1, " + ("with edits" if edited else "as it was committed") in output


def test_after_a_killed_run_the_same_command_goes_on_and_the_way_back_is_the_first_ones(project):
    edit(project)
    before = state(project)
    assert "Nothing was undone" in do(project, "tools.back", "--undo", check=False)
    with started(project, "subsample", "tools.repro"):
        pass
    buried(project)
    output = do(project, "tools.repro")
    assert stages_run(output) == ["subsample"]
    assert output.splitlines()[-1].endswith("The way back from here: make back")
    staged = git(project, "-c", "core.quotePath=false", "diff", "--staged", "--name-only")
    assert "staged ü.txt" in staged, "`dvc exp save` unstages all"
    do(project, "tools.back")
    assert state(project) == before


def test_the_way_back_of_a_run_that_ended_brings_results_that_nobody_committed_and_can_be_undone(project):
    do(project, "dvc", "repro")
    first, manifest = state(project), (project / "data/manifest.csv").read_bytes()
    assert "dvc.lock" in first[-1]
    do(project, "tools.repro", "subsample.seed=2")
    with open(project / "README.md", "a") as file:
        file.write("after the run\n")
    second = state(project)
    assert "make back UNDO=1" in do(project, "tools.back")
    (project / "README.md").write_text((project / "README.md").read_text().removesuffix("after the run\n"))
    assert (state(project), (project / "data/manifest.csv").read_bytes()) == (first, manifest), "other files stay"
    do(project, "tools.back", "--undo")
    (project / "README.md").write_text((project / "README.md").read_text() + "after the run\n")
    assert state(project) == second and (project / "data/manifest.csv").read_bytes() != manifest

    git(project, "add", "dvc.lock", "metrics", "params.yaml")
    git(project, "commit", "--quiet", "--message", "seed 2")
    change(project, subsample__seed=3)
    assert "No run began at this commit" in do(project, "tools.back")
    assert settings(project)["subsample"]["seed"] == 2
    assert git(project, "status", "--porcelain") == "M README.md", "own edits elsewhere stay"


def files(folder: Path) -> dict[str, bytes | None]:
    """Those that `edit` edits; None of one that is gone."""
    names = "README.md", "params.yaml", "docs/tutorial.md", "staged ü.txt", "own #1.txt", "metrics/own.txt"
    return {name: (folder / name).read_bytes() if (folder / name).exists() else None for name in names}


def test_a_killed_dvc_exp_run_is_led_back_from_too(project):
    """By hand, after a run and own edits."""
    do(project, "tools.repro")
    lock = (project / "dvc.lock").read_bytes()
    git(project, "add", "dvc.lock")
    edit(project)
    edits = files(project)
    with started(project, "subsample", "dvc", "exp", "run", "-S", "subsample.seed=5"):
        pass
    buried(project)
    output = do(project, "tools.back")
    assert KILLED in output and "params.yaml stays as it is: what -S has set can't be told from your own edits." in output
    assert git(project, "branch", "--show-current") == "Versuch/1" and git(project, "diff", "--staged") == ""
    after = files(project)
    assert after.pop("params.yaml").startswith(b"# mine\n") and settings(project)["subsample"]["seed"] == 5
    assert after == {name: edits[name] for name in after} and (project / "dvc.lock").read_bytes() == lock
    assert back.BASELINE not in git(project, "for-each-ref")
    git(project, "checkout", "--quiet", "--detach")
    (project / ".git/refs/exps/exec/EXEC_BASELINE").write_text(git(project, "rev-parse", "HEAD"))
    do(project, "tools.back")
    assert git(project, "branch", "--show-current") == "", "who has come back and goes away by hand means it"


@pytest.mark.parametrize("words", [("exp", "run", "-S", "subsample.seed=5"), ("exp", "save")])
def test_edits_that_a_killed_experiment_had_on_gits_stash_come_back(project, words):
    (project / "README.md").write_text("an earlier edit\n")
    git(project, "stash", "push", "--quiet")
    time.sleep(1.1)  # Git's times are whole seconds
    edit(project)
    edits, stash = files(project), git(project, "stash", "list")
    with started(project, "", "dvc", *words):
        pass
    assert git(project, "stash", "list") != stash
    buried(project)
    assert KILLED in do(project, "tools.back")
    assert (files(project), git(project, "stash", "list")) == (edits, stash)


def test_a_run_that_is_stopped_ends_on_its_branch(project):
    with started(project, "subsample", "tools.repro") as process:
        stage = of_stage(process, "subsample")
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(psutil.NoSuchProcess):
            stage.resume()
        assert "Stopped." in process.communicate(timeout=30)[0] and process.returncode == 1
        assert git(project, "branch", "--show-current") == "Versuch/1"
        assert back.RUNNING not in git(project, "for-each-ref")
