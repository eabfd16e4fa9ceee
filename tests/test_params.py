"""params.yaml is checked whole: a typo is one line that names it, whoever starts."""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, clone, run
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from littledata.core import params
from littledata.core.errors import UserError
from littledata.core.params import leaves
from tools import recipe


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """params.yaml with a piece of its text replaced."""
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    return tmp_path / "params.yaml"


def test_editors_check_by_the_same_schema():
    """`python -m littledata.core.params > params.schema.json` writes it."""
    assert json.loads((ROOT / "params.schema.json").read_text()) == params.Params.model_json_schema()
    for path in (ROOT / "params.yaml", *(ROOT / "recipes").glob("*.yaml")):
        name = re.match(r"# yaml-language-server: \$schema=(.*)\n", path.read_text())[1]
        assert (path.parent / name).resolve() == ROOT / "params.schema.json"


def test_the_committed_file_is_small_enough_to_be_read_and_dvc_writes_it_as_it_is(tmp_path):
    """Or every `make repro` would leave a changed params.yaml behind."""
    settings = params.load(ROOT / "params.yaml").model_dump()
    assert len(list(leaves(settings))) <= 70
    path = shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(path, [f"download.source={settings['download']['source']}"])
    assert Path(path).read_text() == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image_size: 224", "image_sise: 192", "unknown key image_sise"),
        ("  unfreeze:", "  unfreez:", "unknown key finetune.unfreez"),
        ("image_size: 224", "# image_size: 192", "image_size is missing"),
        ("  units: 128", "  units: [64", "not valid YAML"),
        ("export: # what is handed out\n  level:", "export:", r"export is 'best'; expected the keys level"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, old, new, message):
    with pytest.raises(UserError, match=message) as caught:
        params.load(edited(tmp_path, old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("finetune.unfreeze=[block4]", r"finetune.unfreeze is \['block4'\]; expected the last blocks"),
        ("image_size='192'", r"image_size is '192' \(text\); expected a whole number"),
        ("image_size=19.5", "image_size is 19.5; expected a whole number"),
        ("image_size=true", "image_size is True"),
        ("download.source=kagle", "download.source is 'kagle'.*one of kaggle, microsoft"),
        ("subsample.seed=4294967296", "subsample.seed is 4294967296; .*, 4294967295 at most"),
        ("finetune.look=0", "finetune.look is 0; expected a whole number of photos, 1 or more, or null"),
        ("top.views=0", "top.views is 0; expected a whole number, 1 or more, or null"),
        ("subsample.train=1.0", "subsample.train is 1.0; expected a number of photos a class, 1 or more, or a share"),
        ("subsample.train=true", "subsample.train is True; expected a number of photos"),
        ("subsample.test=0", "subsample.test is 0; expected a number of photos"),
        ("small_cnn.augmentation.shear=true", "small_cnn.augmentation.shear is True; expected a number, 0 or more, 1 at most"),
        ("small_cnn.batch_norm=1", "small_cnn.batch_norm is 1; expected true or false"),
        ("top.views=2", "top.views is 2, activations.views makes 1: raise that, or ask for fewer"),
        ("activations.crops=3", "activations.crops is 3; expected 1 or 5"),
        ("activations.crops=true", "activations.crops is True; expected 1 or 5"),
        ("subsample.parts=1", "subsample.parts is 1; expected 0, or a whole number, 2 or more"),
        ("subsample.parts=false", "subsample.parts is False; expected 0, or a whole number, 2 or more"),
        ("subsample.parts=3 subsample.part=4", "subsample.part is 4, subsample.parts is 3; expected 1 to 3"),
        ("small_cnn.image_size=32 small_cnn.filters=[8,8,8,8,8]", "image_size 32 is too small for 5 blocks"),
        ("small_cnn.image_size=32 small_cnn.filters=[8,8,8,8] small_cnn.batch_norm=false", "image_size 32 is too small for 4"),
        ("small_cnn.first_stride=9", "first_stride is 9; expected a whole number, 1 or more, 8 at most"),
        ("finetune.lr=.inf", "finetune.lr is inf; expected a number, above 0, 1000 at most"),
        ("finetune.lr=.nan", "finetune.lr is nan; expected a number, above 0"),
        ("small_cnn.filters=[8,2000]", r"filters is \[8, 2000\]; expected a list of 1 to 6 whole numbers, 1 to 1024"),
    ],
)
def test_a_wrong_value_is_named_before_anything_runs(changes, message):
    settings = params.read(ROOT / "params.yaml")
    with pytest.raises(UserError, match=message) as caught:
        params.check(recipe.changed_by(settings, changes.split()), params.PARAMS)
    assert "\n" not in str(caught.value)
    params.check(recipe.changed_by(settings, ["small_cnn.image_size=32", "small_cnn.filters=[8,8,8]"]), params.PARAMS)


@pytest.mark.parametrize("text", ["1e-05", "1e-5", "0.00001", "1.0e-5"])
def test_rates_are_read_as_yaml_1_2(tmp_path, text):
    assert params.load(edited(tmp_path, "  lr: 0.0015", f"  lr: {text}")).small_cnn.lr == 1e-5


def test_a_whole_number_stands_for_a_float():
    settings = params.check(recipe.changed_by(params.read(ROOT / "params.yaml"), ["top.lr=1", "subsample.train=1"]), params.PARAMS)
    assert type(settings.top.lr) is float and type(settings.subsample.train) is int


def with_recipe(settings, name: str) -> dict:
    return recipe.changed_by(settings, recipe.changes(name))


def test_every_recipe_is_right_and_another_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    settings, names = params.load().model_dump(), [path.stem for path in recipe.RECIPES.glob("*.yaml")]
    assert {"accurate", "blog", "light", "tiny"} <= set(names)
    for name in names:
        changed = with_recipe(settings, name)
        params.check(changed, params.PARAMS)
        assert (changed != settings) == (name != "vgg16")
    assert with_recipe(with_recipe(settings, "light"), "vgg16") == settings, "the way back"


def test_the_blogs_recipe_sets_every_knob_whatever_params_yaml_says(tmp_path, monkeypatch):
    """`make blog` must stay the blog's whatever becomes of the default recipe."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    settings = params.read(ROOT / "params.yaml")
    free = {key for key, _ in leaves(settings) if key.endswith("seed") or key.startswith(("download.", "export."))}
    other = copy.deepcopy(settings)
    other["subsample"] |= {"train": 0.6, "validation": 0.2, "test": 0.2, "remaining": True, "parts": 3, "part": 2}
    other |= {"image_size": 96, "backbone": "ResNet50", "fit": "pad"}
    other["finetune"] |= {"unfreeze": ["conv5_block3"], "ema": 0.5}
    other["small_cnn"] |= {"filters": [8]}
    changed = []
    for tree in settings, other:
        YAML().dump(tree, Path("params.yaml"))
        assert {change.partition("=")[0] for change in recipe.changes("blog")} == {key for key, _ in leaves(settings)} - free
        changed.append(with_recipe(tree, "blog"))
    assert changed[0] == changed[1]


def test_dvc_takes_a_recipe_as_the_tool_prints_it(tmp_path):
    """`dvc exp run $(python -m tools.recipe blog)`: a shell splits it into words, and DVC reads them as they are meant."""
    words = run(ROOT, "tools.recipe", "blog").split()
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    apply_overrides(path, [word for word in words if word != "-S"])
    assert words[0] == "-S" and params.read(path) == with_recipe(params.read(ROOT / "params.yaml"), "blog")


@pytest.mark.parametrize(
    "text, message",
    [
        ("top:\n  epoch: 3\n", "recipes/mine.yaml: unknown key top.epoch; known here: "),
        ("topp: 3\n", "recipes/mine.yaml: unknown key topp; known here: "),
        ("top: 3\n", "recipes/mine.yaml: top is 3; expected the keys "),
        ("top:\n  epochs: many\n", "recipes/mine.yaml: top.epochs is 'many' (text); expected "),
        ("- top\n", "recipes/mine.yaml names no params."),
        ("", "recipes/mine.yaml names no params."),
        ("top: [\n", "recipes/mine.yaml is not valid YAML"),
        (None, "There is no recipe mine. There are accurate, blog, light, tiny, vgg16."),
    ],
)
def test_a_wrong_recipe_is_one_line_that_names_it(tmp_path, text, message):
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    if text is not None:
        (tmp_path / "recipes/mine.yaml").write_text(text)
    (line,) = run(tmp_path, "tools.recipe", "mine", check=False).splitlines()
    assert line.startswith(message), line


def test_a_stage_and_make_repro_stop_at_a_typo_anywhere(tmp_path):
    folder = clone(tmp_path)
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("finetune:", "finetun:"))
    for module in ("stages.download", "tools.repro"):
        output = run(folder, module, check=False)
        assert "unknown key finetun" in output and len(output.splitlines()) == 1


def test_a_stage_sees_only_what_it_declares_and_changes_nothing(monkeypatch):
    monkeypatch.chdir(ROOT)
    top, finetune = (params.chosen(params.declared(stage), params.load()) for stage in ("top", "finetune"))
    assert top.top.lr == top["top"]["lr"] and finetune.top.units == params.load().top.units
    with pytest.raises(AttributeError, match="dvc.yaml does not declare the param finetune"):
        top.finetune  # noqa: B018
    with pytest.raises(AttributeError, match="dvc.yaml does not declare the param dropout"):
        finetune["top"]["dropout"]
    with pytest.raises(ValueError, match="frozen"):
        top.top.lr = 1.0
    with pytest.raises(TypeError):
        top["top"] = {}
