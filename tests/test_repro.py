"""`make repro`'s choice, and what it says and leaves."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import NO_INDEX, ROOT, change, clone, git, own, restore, run, settings, stages_run
from hydra.core.override_parser.overrides_parser import OverridesParser

from littledata.core.errors import UserError
from littledata.photos import archive
from littledata.splits import dataset
from tools import experiment, plan, repro


@pytest.fixture
def chooser(tmp_path, monkeypatch):
    """`choose` in an empty folder on a machine with nothing: no archive, no credentials, no network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".cache").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "DOGS_VS_CATS_ARCHIVE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    def choose(asked=None, source="kaggle"):
        return repro.choose(asked, {"download": {"source": source}})[0]

    return choose


def test_what_can_be_reached_decides_once(chooser, monkeypatch):
    assert chooser() == "cifar10"
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    assert chooser() == "kaggle"
    repro.CHOSEN.write_text("cifar10\n")
    assert chooser() == "cifar10", "the earlier choice wins over what is in reach now"
    assert chooser(asked="microsoft") == "microsoft"
    assert chooser(source="path") == "path", "what params.yaml says wins"


def test_own_photos_are_no_choice_for_a_params_yaml_without_them(chooser):
    repro.CHOSEN.write_text("path\n")
    repro.BROUGHT.parent.mkdir(parents=True)
    repro.BROUGHT.write_text('{"source": "path"}')
    assert chooser() == "cifar10", "after `git restore params.yaml`"


def test_an_archive_by_hand_wins_over_the_network(chooser, monkeypatch):
    monkeypatch.setenv("DOGS_VS_CATS_ARCHIVE", "train.zip")
    assert chooser() == "kaggle"


def test_photos_that_are_here_are_a_choice(chooser, monkeypatch):
    """`DOGS_VS_CATS_ARCHIVE=... dvc repro` chose, too."""
    repro.BROUGHT.parent.mkdir(parents=True)
    repro.BROUGHT.write_text('{"source": "kaggle"}')
    assert chooser() == "kaggle"


def test_a_choice_whose_photos_never_came_is_none(tmp_path):
    folder = clone(tmp_path)
    output = run(folder, "tools.repro", check=False, HOME=str(tmp_path), **NO_INDEX)
    assert "Photos from cifar10" in output and "can't be reached" in output
    assert "This will take" in output, "a fresh clone has dvc.lock, and nothing that it names"
    assert not (folder / repro.CHOSEN).exists()
    assert output.splitlines()[-1].endswith("The way back from here: make back")


@pytest.mark.parametrize("arguments", [["--source", "cifar10", "--photos", "x"], ["download.source=cifar10"]])
def test_two_answers_to_where_photos_come_from_are_refused(pipeline, arguments):
    assert "photos" in run(pipeline, "tools.repro", *arguments, check=False).splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("image_size=abc", "image_size is 'abc'"),
        ("top=0.4", "top is 0.4; expected the keys"),
        ("top.dropout=hello", "top.dropout is 'hello'"),
        ("top.dropout.x=1", "params.yaml has no top.dropout.x"),
        ("top.droput=0.4", "params.yaml has no top.droput"),
        ("finetune.unfreeze=block5", "finetune.unfreeze is 'block5'"),
        ("top.lr=[1", "expected top.lr=VALUE"),
        ("top.lr", "top.lr is None"),
        ("subsample=5", "subsample is 5"),
    ],
)
def test_a_wrong_value_is_a_line_before_anything_is_written(pipeline, photos, tmp_path, change, words):
    before = (pipeline / "params.yaml").read_bytes()
    for own_photos in [], ["--photos", str(own(tmp_path / "mine", photos))]:
        output = run(pipeline, "tools.repro", *own_photos, change, check=False)
        assert words in output.splitlines()[-1] and "Traceback" not in output
    assert (pipeline / "params.yaml").read_bytes() == before


def test_a_value_is_checked_with_the_recipe_that_it_goes_with(pipeline):
    both = "--recipe", "light", "finetune.unfreeze=[block6a]"
    assert "top.dropout is 1.5" in run(pipeline, "tools.repro", *both, "top.dropout=1.5", check=False).splitlines()[-1]
    assert "the last blocks of VGG16" in run(pipeline, "tools.repro", both[-1], check=False).splitlines()[-1]


def test_a_right_value_mends_a_wrong_one(pipeline):
    try:
        change(pipeline, top__dropout="hello")
        assert "top.dropout is 'hello'" in run(pipeline, "tools.repro", check=False)
        output = run(pipeline, "tools.repro", "--source", "microsoft", "top.dropout=1.5", check=False)
        assert "top.dropout is 1.5" in output
        run(pipeline, "tools.repro", "top.dropout=0.7")
    finally:
        restore(pipeline)
        (pipeline / repro.CHOSEN).unlink(missing_ok=True)


@pytest.mark.parametrize("name", ['it\'s "my" & photos (1)', "back`tick", "price $5", "two  blanks", "$(shell touch made)"])
def test_make_takes_any_path_as_it_is_typed(tmp_path, name):
    words = ["make", "-s", "-C", str(ROOT), "-o", ".venv/bin/.run", "check", f"PHOTOS={tmp_path / name}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert f"There is no folder {tmp_path / name}: name one" in done.stderr
    assert not (ROOT / "made").exists()


def test_a_set_with_blanks_in_its_name_is_one_in_quotes(tmp_path):
    words = ["make", "-s", "-C", str(ROOT), "-o", ".venv/bin/.run", "sets", f"SETS='{tmp_path}/my insects' {tmp_path}/b.zip"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert f"There is no {tmp_path}/my insects: name folders" in done.stderr
    assert 'make sets SETS="a.zip b/"' in subprocess.run(words[:-1], capture_output=True, text=True).stderr


@pytest.mark.parametrize(
    "text",
    ["plain", "123", "Anna's photos (1), #2 & more", "Kätzchen=犬 {a: b} [c]", "~/x", r"C:\x\'y\\'", "a\\", "null", ""],
)
def test_any_text_passes_through_to_the_param(text):
    override = OverridesParser.create().parse_override(f"download.path={experiment.quoted(text)}")
    assert override.value() == text and not override.is_sweep_override()


def test_make_repro_says_what_it_chose_shows_the_table_and_the_way_back(pipeline, train_zip, tmp_path):
    """On a pipeline that is up to date nothing runs; the choice is still said and made explicit. Git knows nobody."""
    nobody = {"HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    output = run(pipeline, "tools.repro", DOGS_VS_CATS_ARCHIVE=str(train_zip), **nobody)
    try:
        assert f"Photos from kaggle: DOGS_VS_CATS_ARCHIVE names {train_zip}." in output
        assert "$ dvc exp run -S download.source=kaggle" in output
        assert set(stages_run(output)) <= {"download", "card"}, "only its digest was noted"
        assert settings(pipeline)["download"]["sha256"]
        assert "1 small convnet" in output and "next:" in output
        assert "params.yaml" in output.splitlines()[-1] and "make back" in output.splitlines()[-1]
        assert "REPORT.md" in output.splitlines()[-1], "the card names the digest"
        again = run(pipeline, "tools.repro", **nobody)
        assert stages_run(again) == [] and "No tracked file changed." in again
    finally:
        (pipeline / repro.CHOSEN).unlink()
        restore(pipeline)


def test_outside_a_git_repository_there_is_one_clear_line(tmp_path):
    folder = clone(tmp_path)
    shutil.rmtree(folder / ".git")
    output = run(folder, "tools.repro", check=False, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert output.splitlines() == ["this is no Git repository with a commit: `git clone` the project instead of copying it."]


def test_a_disk_that_is_too_small_is_told_before_anything_runs(tmp_path):
    given = settings(ROOT)
    size, counts = plan.KNOWN["kaggle"]
    assert 1e9 < plan.space_needed(given, size, plan.drawn(given["subsample"], counts)) < 1e10
    folder = clone(tmp_path)
    change(folder, image_size=1024, activations__views=1000, subsample__train=1000)  # 8 TB
    output = run(folder, "tools.repro", check=False, DOGS_VS_CATS_ARCHIVE=str(ROOT / "README.md"))
    assert "zip" in output
    change(folder, download__source="cifar10")
    assert "GB of disk" in run(folder, "tools.repro", check=False)
    assert not (folder / "data/raw").exists()


def test_folds_validate_every_photo_once_and_leave_the_test_photos_alone(pipeline, tmp_path):
    before = dataset.read_manifest(pipeline / "data/manifest.csv")
    test = {photo.sha256 for photo in before if photo.split == "test"}
    validated = []
    try:
        for fold in 1, 2, 3:
            change(pipeline, subsample__folds=3, subsample__fold=fold)
            run(pipeline, "stages.subsample")
            manifest = dataset.read_manifest(pipeline / "data/manifest.csv")
            assert {photo.sha256 for photo in manifest if photo.split == "test"} == test
            validated += [photo.sha256 for photo in manifest if photo.split == "validation"]
            assert len({photo.sha256 for photo in manifest}) == len(before)
            assert all(photo.path.name in {p.name for p in (pipeline / photo.path.parent).iterdir()} for photo in manifest)
        change(pipeline, subsample__folds=3, subsample__fold=4)
        assert "subsample.fold is 4" in run(pipeline, "stages.subsample", check=False)
        change(pipeline, subsample__folds=40, subsample__fold=1)
        assert "too few for 40 folds" in run(pipeline, "stages.subsample", check=False)
    finally:
        restore(pipeline)
    assert sorted(validated) == sorted(photo.sha256 for photo in before if photo.split != "test")


def test_folds_that_test_test_every_photo_once(pipeline):
    before = dataset.read_manifest(pipeline / "data/manifest.csv")
    seen = {split: [] for split in dataset.SPLITS}
    try:
        for fold in 1, 2, 3, 4:
            change(pipeline, subsample__folds=4, subsample__fold=fold, subsample__folded="test")
            run(pipeline, "stages.subsample")
            manifest = dataset.read_manifest(pipeline / "data/manifest.csv")
            assert len({photo.sha256 for photo in manifest}) == len(before) == len(manifest)
            for split, photos in seen.items():
                photos += [photo.sha256 for photo in dataset.of_split(manifest, split)]
        change(pipeline, subsample__folds=2, subsample__fold=1)
        assert "expected 3 or more where subsample.folded is test" in run(pipeline, "stages.subsample", check=False)
    finally:
        restore(pipeline)
    every = sorted(photo.sha256 for photo in before)
    assert sorted(seen["test"]) == sorted(seen["validation"]) == every and sorted(seen["train"]) == sorted(every * 2)


@pytest.mark.parametrize(
    "place, words",
    [
        ("data/photos", "data/photos is or lies in data/photos"),
        ("data/photos/train/mine", "data/photos/train/mine is or lies in data/photos"),
        ("data", "data holds data/raw"),
        (".", ". holds data/raw"),
        ("data/../data/photos", "is or lies in data/photos"),
        ("link", "link is or lies in data/photos"),
    ],
)
def test_photos_that_a_run_would_remove_are_refused_and_stay(cut, photos, tmp_path, place, words):
    folder = shutil.copytree(cut, tmp_path / "clone")
    mine = own(folder / "data/photos/train/mine", photos)
    (folder / "data/photos/prices.xlsx").write_bytes(b"x")
    (folder / "link").symlink_to("data/photos")
    change(folder, download__source="path", download__path=place)
    before = sorted((folder / "data").rglob("*"))
    for command in ["tools.repro", "--photos", place], ["stages.download"]:
        line = run(folder, *command, check=False).splitlines()[-1]
        assert words in line and line.endswith("which every run removes and makes anew. Move your photos to another folder.")
    assert sorted((folder / "data").rglob("*")) == before and mine.exists()


def test_clean_removes_what_stages_declare_and_nothing_of_the_users(cut, train_zip, tmp_path):
    folder = shutil.copytree(cut, tmp_path / "clone")
    run(folder, "dvc", "repro", DOGS_VS_CATS_ARCHIVE=str(train_zip))
    mine = own(folder / "data/mine", {"cat": [b"x"], "dog": [b"y"]})
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models/theirs.onnx").write_bytes(b"z")
    assert (folder / "data/photos").exists()
    run(folder, "tools.clean")
    left = {str(path.relative_to(folder)) for top in ("data", "models") for path in (folder / top).rglob("*") if path.is_file()}
    assert left == {"data/.gitignore", "data/mine/cat/0.jpg", "data/mine/dog/0.jpg", "models/.gitignore", "models/theirs.onnx"}
    assert mine.exists() and not git(folder, "status", "--porcelain", "--untracked-files=no").replace(" M dvc.lock", "")
    run(folder, "tools.clean")  # with nothing to remove


def test_own_photos_take_light_once_unless_a_network_is_named(capsys):
    vgg16 = settings(ROOT)
    own_photos = repro.changed_by(vgg16, ["download.source=path"])
    assert repro.recipe_of_own("path", vgg16, ["finetune.lr=0.1"]) == "light" and "RECIPE=vgg16" in capsys.readouterr().out
    assert repro.recipe_of_own("kaggle", vgg16, []) is repro.recipe_of_own("path", own_photos, []) is None
    assert repro.recipe_of_own("path", vgg16, ["backbone=ResNet50"]) is None
    assert repro.recipe_of_own("path", repro.changed_by(vgg16, ["backbone=ResNet50"]), []) is None


def test_a_colleague_without_the_folder_takes_what_the_remote_has(cut, photos, tmp_path):
    first, theirs = shutil.copytree(cut, tmp_path / "first"), tmp_path / "theirs"
    mine = own(tmp_path / "my pictures", photos)
    change(first, subsample__train=0.6, subsample__validation=0.2, subsample__test=0.2)
    assert "Recipe light" in run(first, "tools.repro", "--photos", str(mine))
    assert settings(first)["backbone"] == "EfficientNetLite0"
    run(first, "dvc", "remote", "add", "--default", "team", str(tmp_path / "remote"))
    run(first, "dvc", "push", "--run-cache")
    git(first, "add", "--all")
    git(first, "commit", "--quiet", "--message", "own photos")
    git(first, "clone", "--quiet", str(first), str(theirs))
    mine.rename(tmp_path / "on another machine")
    output = run(theirs, "tools.repro")
    assert "That folder is not on this machine" in output and stages_run(output) == [] and "No tracked file changed." in output
    output = run(theirs, "tools.repro", "subsample.seed=7")
    assert stages_run(output) == ["subsample"], "it draws anew, from the archive that the remote has"
    assert len(dataset.read_manifest(theirs / "data/manifest.csv")) == 60
    assert "no such folder" in run(theirs, "tools.repro", "--photos", str(mine), check=False)
    change(theirs, download__path="elsewhere")
    assert "there is no such folder" in run(theirs, "tools.repro", check=False), "the lock is of other photos"


def will(folder: Path, changes: tuple[str, ...] = ()) -> list[str]:
    """The changes that a run makes by itself for a folder of the user's own photos, with params.yaml as it is committed."""
    with archive.listing(folder) as found:
        return plan.own_photos(found, repro.changed_by(settings(ROOT), list(changes))["subsample"], list(changes))


def test_own_photos_take_shares_where_the_numbers_cannot_be_met(photos, tmp_path, capsys):
    mine = own(tmp_path / "mine", photos)
    assert will(mine) == ["subsample.train=0.6", "subsample.validation=0.2", "subsample.test=0.2"]
    said = capsys.readouterr().out
    assert "2 classes, 60 photos: cat 30, dog 30." in said and "1600 photos of each, more than there are" in said
    assert "Drawn from them: 36 train, 12 validation, 12 test; the rarest class, cat, has 6 of the test photos." in said
    asked = ("subsample.train=10", "subsample.validation=5", "subsample.test=5")
    assert will(mine, asked) == [] and "20 train, 10 validation, 10 test" in capsys.readouterr().out
    with pytest.raises(UserError, match="subsample.train=40 can't be met: the class cat has 30 photos"):
        will(mine, ("subsample.train=40",))
    with pytest.raises(UserError, match="1.2: 1 at most"):
        will(mine, ("subsample.train=0.6", "subsample.validation=0.2", "subsample.test=0.4"))


def test_too_few_photos_or_classes_and_very_many_are_said_before_a_run(photos, tmp_path, capsys):
    with pytest.raises(UserError, match="holds one class"):
        will(own(tmp_path / "one", {"cat": photos["cat"]}))
    will(own(tmp_path / "three", {"cat": photos["cat"], "dog": photos["dog"][:3]}))
    assert "the rarest class, dog, has 1 of the test photos" in capsys.readouterr().out
    with pytest.raises(UserError, match="The class dog has 2 photos: each class needs three"):
        will(own(tmp_path / "two", {"cat": photos["cat"], "dog": photos["dog"][:2]}))
    will(own(tmp_path / "many", {f"kind{n:03}": photos["cat"][: 3 + n % 20] for n in range(200)}))
    said = capsys.readouterr().out
    assert "200 classes, 2500 photos: from 3 (kind000) to 22 (kind019) a class." in said
