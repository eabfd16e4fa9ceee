"""Every command of docs/tutorial.md, one after the other, in one shell, in a clone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, clone, git, offline, with_downloads

TUTORIAL = ROOT / "docs/tutorial.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def environment_in(folder: Path) -> None:
    """This Python's environment as the clone's own .venv, into which make may write commands."""
    prefix, own = Path(sys.prefix), folder / ".venv"
    (own / "bin").mkdir(parents=True)
    (own / "lib").symlink_to(prefix / "lib")
    (own / "pyvenv.cfg").write_text((prefix / "pyvenv.cfg").read_text())
    for file in (prefix / "bin").iterdir():
        if file.name not in ("activate", "predict", "submit"):
            (own / "bin" / file.name).symlink_to(file)
    (own / "bin/activate").write_text((prefix / "bin/activate").read_text().replace(str(prefix), str(own)))
    (own / "bin/.run").unlink(missing_ok=True)
    (own / "bin/.run").touch()


@pytest.mark.slow  # the whole DAG once more and two experiments, as a reader types them
@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="takes a virtual environment: make test")
def test_every_command_of_the_tutorial_runs(train_zip, weights_wheel, tmp_path):
    folder = with_downloads(clone(tmp_path), weights_wheel)
    environment_in(folder)
    origin = tmp_path.parent / "origin"
    for words in ["init", "-q", "--bare", str(origin)], ["branch", "-M", "main"], ["remote", "add", "origin", str(origin)]:
        git(folder, *words)
    blocks = BLOCK.findall(TUTORIAL.read_text())
    assert len(blocks) > 5
    somebody = {f"GIT_{role}_{key}": "test" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    env = offline(**somebody, DOGS_VS_CATS_ARCHIVE=str(train_zip))
    env["PATH"] = os.environ["PATH"]  # .venv/bin/activate has to put this Python there
    done = subprocess.run(
        ["bash", "-ec", "\n".join(blocks)], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "dvc.lock belongs to params.yaml" in done.stdout
    assert git(origin, "log", "-1", "--format=%s", "lower-rate") == "A lower rate for level 3"
    assert re.search(r"^  lr: (3e-0?5|0\.00003)", git(origin, "show", "lower-rate:params.yaml"), re.MULTILINE)
    assert "finetune" in (folder / "report/report.md").read_text()

    # What make wrote runs from any folder, and doesn't take that one's modules for its own.
    (tmp_path / "elsewhere/tools").mkdir(parents=True)
    (tmp_path / "elsewhere/tools/__init__.py").write_text("raise SystemExit('another project')")
    words = [folder / ".venv/bin/predict", "--about"]
    done = subprocess.run(words, cwd=tmp_path / "elsewhere", capture_output=True, text=True)
    assert json.loads(done.stdout)["classes"] == ["cat", "dog"], done.stderr
