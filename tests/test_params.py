"""params.yaml is checked whole: a typo is one line that names it, whoever starts."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, clone, run
from dvc.utils.hydra import apply_overrides

from stages.lib import params
from stages.lib.errors import UserError
from stages.lib.tree import leaves
from tools import repro


@pytest.fixture
def edited(tmp_path):
    """params.yaml with the first line that a pattern finds replaced."""

    def edit(pattern: str, line: str):
        text, count = re.subn(pattern, line, (ROOT / "params.yaml").read_text(), count=1, flags=re.MULTILINE)
        assert count, pattern
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return path

    return edit


def test_the_committed_file_is_right():
    assert params.load(ROOT / "params.yaml")["finetune"]["unfreeze"]


def test_dvc_writes_the_file_as_it_is(tmp_path):
    """Or every `make repro` would leave a changed params.yaml behind."""
    path = shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(path, [f"download.source={params.load(ROOT / 'params.yaml')['download']['source']}"])
    assert Path(path).read_text() == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("^image_size: .*", "image_sise: 192", "unknown key image_sise"),
        (r"^  unfreeze: .*\n  - block5", "  unfreez: [block5]", "unknown key finetune.unfreez"),
        (r"^  unfreeze: .*\n  - block5", "  unfreeze: [block4]", "finetune.unfreeze is .*expected the last blocks"),
        ("^image_size: .*", "image_size: '192'", r"image_size is '192' \(text\); expected a whole number"),
        ("^image_size: .*", "image_size: 19.5", "image_size is 19.5; expected a whole number"),
        ("^image_size: .*", "image_size: true", "image_size is True"),
        ("^image_size: .*", "# image_size: 192", "image_size is missing"),
        ("^  source: .*", "  source: kagle", "download.source is 'kagle'.*one of kaggle, microsoft"),
        ("^  seed: 1 # of the draw", "  seed: 4294967296", "subsample.seed is 4294967296; .*, 4294967295 at most"),
        ("^  units: .*", "  units: [64", "not valid YAML"),
        ("^  epochs: 0.5", "  epochs: 1.5", "finetune.epochs is 1.5; expected a whole number, 1 or more, or a part"),
        ("^  views: # how many", "  views: 0 # how many", "top.views is 0; expected a whole number, 1 or more, or null"),
    ],
)
def test_a_wrong_line_is_named(edited, old, new, message):
    with pytest.raises(UserError, match=message) as caught:
        params.load(edited(old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1e-05", "1e-5", "0.00001", "1.0e-5"])
def test_rates_are_read_as_yaml_1_2(edited, text):
    assert params.load(edited(r"^  lr: .*", f"  lr: {text}"))["small_cnn"]["lr"] == 1e-5


def recipe(name: str) -> list[str]:
    """The params that `make <name>` sets."""
    make = ["make", "--no-print-directory", "-n", name]  # inside `make test` it would say where it enters and leaves
    command = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return shlex.split(command[command.rindex("tools.repro") :])[1:]


def test_the_accurate_recipe_is_another_one_and_right():
    given, words = params.load(ROOT / "params.yaml"), recipe("accurate")
    changed = repro.changed_by(given, words)
    params._check(changed, params.SCHEMA, params.PARAMS, "")
    assert words and changed != given


def test_the_blogs_recipe_sets_every_knob_and_each_rightly():
    """`make blog` must stay the blog's whatever becomes of the default recipe."""
    given, words = params.load(ROOT / "params.yaml"), recipe("blog")
    known = {key for key, _ in leaves(given)}
    set_by_blog = dict(word.split("=", 1) for word in words)
    free = {key for key in known if key.endswith("seed") or key.startswith("download.")} | {"subsample.test", "subsample.rest"}
    assert set(set_by_blog) == known - free
    params._check(repro.changed_by(given, words), params.SCHEMA, params.PARAMS, "")


def test_a_stage_and_make_repro_stop_at_a_typo_anywhere(tmp_path):
    folder = clone(tmp_path)
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("finetune:", "finetun:"))
    for module in ("stages.download", "tools.repro"):
        output = run(folder, module, check=False)
        assert "unknown key finetun" in output and len(output.splitlines()) == 1


def test_a_stage_sees_only_what_it_declares(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(KeyError):
        params.for_stage("top")["finetune"]
    with pytest.raises(KeyError):
        params.for_stage("finetune")["top"]["dropout"]
