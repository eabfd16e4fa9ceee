"""`make repro`'s choice, and what it says and leaves."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from conftest import NO_INDEX, ROOT, change, clone, git, own, restore, run, settings, stages_run

from littledata.core import files, lockfile, measured, params
from littledata.core.errors import UserError
from littledata.photos import download, listing
from littledata.splits import dataset, draw
from tools import estimate, plan, recipe, repro


def noted(folder: Path) -> dict:
    return json.loads((folder / download.NOTE).read_text())


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


def test_what_is_asked_for_chosen_or_in_reach_decides(chooser, monkeypatch):
    assert chooser() == "cifar10"
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    assert chooser() == "kaggle"
    repro.CHOSEN.write_text("cifar10\n")
    assert chooser() == "cifar10", "the earlier choice wins over what is in reach now"
    assert chooser(asked="microsoft") == "microsoft"
    assert chooser(source="path") == "path", "what params.yaml says wins"


@pytest.mark.parametrize(
    ("chosen", "here", "archive", "source"),
    [
        ("path", "path", "", "cifar10"),  # after `git restore params.yaml`
        ("", "", "train.zip", "kaggle"),
        ("", "kaggle", "", "kaggle"),  # `DOGS_VS_CATS_ARCHIVE=... dvc repro` chose, too
    ],
)
def test_photos_that_are_here_are_a_choice_unless_they_are_own_ones(chooser, monkeypatch, chosen, here, archive, source):
    download.NOTE.parent.mkdir(parents=True)
    for path, text in ((repro.CHOSEN, chosen), (download.NOTE, here and json.dumps({"source": here}))):
        if text:
            path.write_text(text)
    monkeypatch.setenv("DOGS_VS_CATS_ARCHIVE", archive)
    assert chooser() == source


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
    ("name", "changes", "words"),
    [
        (None, "image_size=abc", "image_size is 'abc'"),
        (None, "top=0.4", "top is 0.4; expected the keys"),
        (None, "top.dropout.x=1", "params.yaml has no top.dropout.x"),
        (None, "top.droput=0.4", "params.yaml has no top.droput"),
        (None, "finetune.unfreeze=block5", "finetune.unfreeze is 'block5'"),
        (None, "top.lr=[1", "expected top.lr=VALUE"),
        (None, "top.lr", "top.lr is None"),
        (None, "subsample=5", "subsample is 5"),
        (None, "subsample.parts=3 subsample.part=4", "subsample.part is 4"),
        (None, "subsample.parts=2 subsample.part_is=test", "expected 3 or more where subsample.part_is is test"),
        ("light", "top.dropout=1.5", "params.yaml with recipes/light.yaml: top.dropout is 1.5"),
        (None, "finetune.unfreeze=[block6a]", "the last blocks of VGG16"),  # but with the recipe that it goes with:
        ("light", "finetune.unfreeze=[block6a]", None),
    ],
)
def test_changes_are_checked_with_the_recipe_that_they_go_with(monkeypatch, name, changes, words):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=re.escape(words)) if words else contextlib.nullcontext():
        recipe.asked(settings(ROOT), name, changes.split())


def test_a_wrong_value_is_a_line_before_anything_is_written_and_a_right_one_mends_it(pipeline, photos, tmp_path):
    before = (pipeline / "params.yaml").read_bytes()
    for own_photos in [], ["--photos", str(own(tmp_path / "mine", photos))]:
        output = run(pipeline, "tools.repro", *own_photos, "top.dropout=hello", check=False)
        assert "top.dropout is 'hello'" in output.splitlines()[-1]
    assert (pipeline / "params.yaml").read_bytes() == before
    try:
        change(pipeline, top__dropout="hello")
        assert "top.dropout is 'hello'" in run(pipeline, "tools.repro", check=False)
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
    assert f"There is no {tmp_path}/my insects here: name folders" in done.stderr
    assert 'make sets SETS="a.zip b/"' in subprocess.run(words[:-1], capture_output=True, text=True).stderr


@pytest.mark.parametrize(
    "text",
    ["123", "Anna's photos (1), #2 & more", "Kätzchen=犬 {a: b} [c]", "~/x", r"C:\x\'y\\'", "a\\", "null", "", "a\nb", "- x: y"],
)
def test_any_text_is_written_as_it_is_and_comments_stay(tmp_path, monkeypatch, text):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    given, lines = settings(tmp_path), (ROOT / "params.yaml").read_text().splitlines()
    repro.write(given)
    assert (tmp_path / "params.yaml").read_text().splitlines() == lines, "nothing has changed"
    repro.write(given | {"download": given["download"] | {"path": text}, "image_size": 96})
    assert settings(tmp_path) == given | {"download": given["download"] | {"path": text}, "image_size": 96}
    written = (tmp_path / "params.yaml").read_text()
    assert all(line.partition("#")[2] in written for line in lines)
    assert sum(line not in lines for line in written.splitlines()) <= 3 + text.count("\n")


def test_make_repro_says_what_it_chose_shows_the_table_and_the_way_back(pipeline, train_zip, tmp_path):
    """On a pipeline that is up to date nothing runs; the choice is still said and made explicit. Git knows nobody."""
    nobody = {"HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    output = run(pipeline, "tools.repro", DOGS_VS_CATS_ARCHIVE=str(train_zip), **nobody)
    try:
        assert f"Photos from kaggle: DOGS_VS_CATS_ARCHIVE names {train_zip}." in output
        assert stages_run(output) == ["download", "card"], "only its digest was noted"
        assert settings(pipeline)["download"]["sha256"] == files.sha256_of(train_zip)
        assert "Experiment has been saved as: " in output
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


@pytest.mark.parametrize(
    ("parts", "part_is", "seen"),
    [(3, "validation", {"validation": 1, "train": 2}), (4, "test", {"test": 1, "validation": 1, "train": 2})],
)
def test_parts_are_each_photo_once(parts, part_is, seen):
    """Those that validate leave the test photos alone."""
    asked, sizes = settings(ROOT)["subsample"] | {"parts": parts, "part_is": part_is}, {"train": 24, "validation": 10, "test": 8}
    dealt = [draw.split_of_each(asked | {"part": part}, sizes, 50) for part in range(1, parts + 1)]
    for number, of_photo in enumerate(zip(*dealt, strict=True)):
        tests = part_is == "validation" and number >= 34
        assert Counter(of_photo) == ({"test": parts} if tests else seen)
    assert len(dealt[0]) == 42, "no other photo is taken"


def test_more_parts_than_photos_are_refused(pipeline):
    try:
        change(pipeline, subsample__parts=40)
        assert "too few for 40" in run(pipeline, "stages.subsample", check=False)
    finally:
        restore(pipeline)


@pytest.mark.parametrize(
    "place, words",
    [
        ("data/photos/train/mine", "data/photos/train/mine is or lies in data/photos"),
        (".", ". holds data/raw"),
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


def test_the_estimate_goes_by_what_is_due_and_what_it_took_here(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    given, sizes, lock = params.read(params.PARAMS), (48, 20, 16), lockfile.stages(*lockfile.LOCKS)
    assert estimate.due(given) == [] and "this takes seconds" in estimate.words(given, sizes)
    tuned = recipe.changed_by(given, ["finetune.dropout=0.1"])
    assert estimate.due(tuned)[:2] == ["finetune", "evaluate"]
    took = measured.of("finetune", lock["finetune"])["seconds"]
    assert estimate.seconds("finetune", lock, given, sizes) == pytest.approx(took)
    longer = recipe.changed_by(given, ["finetune.epochs=200"])
    assert estimate.seconds("finetune", lock, longer, sizes) > 1.2 * took
    default = params.read(ROOT / "params.yaml")
    assert estimate.seconds("activations", {}, default, (2000, 800, 400)) == pytest.approx(113.7)
    assert "not known for ResNet50" in estimate.words(tuned | {"backbone": "ResNet50"}, sizes)


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


def test_own_photos_take_light_once_unless_a_network_is_named():
    vgg16 = settings(ROOT)
    own_photos, another = (recipe.changed_by(vgg16, [change]) for change in ("download.source=path", "backbone=ResNet50"))
    assert repro.takes_light("path", vgg16, ["finetune.lr=0.1"]) and repro.takes_light("bucket", vgg16, [])
    assert not (repro.takes_light("kaggle", vgg16, []) or repro.takes_light("path", own_photos, []))
    assert not (repro.takes_light("path", vgg16, ["backbone=ResNet50"]) or repro.takes_light("path", another, []))


def test_a_place_is_packed_again_where_its_listing_differs_and_only_there(cut, photos, train_zip, tmp_path):
    folder, archive = shutil.copytree(cut, tmp_path / "clone"), {"DOGS_VS_CATS_ARCHIVE": str(train_zip)}
    mine = own(tmp_path / "Anna's photos (1), #2 & more", photos)
    output = run(folder, "tools.repro", "--photos", str(mine))
    assert "Recipe light" in output and stages_run(output) == ["download", "subsample"]
    assert "a run takes shares.\nDrawn from them: 36 train, 12 validation, 12 test" in output
    first, lock = settings(folder), (folder / "dvc.lock").read_text()
    assert first["download"] == {"source": "path", "path": str(mine), "sha256": noted(folder)["digest"]}
    assert (first["subsample"]["train"], first["backbone"]) == (0.6, "EfficientNetLite0")
    assert "up to date" in run(folder, "dvc", "status"), "to write the digest down makes nothing due"
    output = run(folder, "tools.repro")
    assert stages_run(output) == [] and "No tracked file changed." in output and "takes seconds" in output
    run(folder, "tools.repro", "--source", "kaggle", **archive)
    assert settings(folder)["download"] == {"source": "kaggle", "path": None, "sha256": files.sha256_of(train_zip)}
    assert stages_run(run(folder, "tools.repro", "--photos", str(mine))) == [], "DVC's cache has it"
    assert settings(folder)["download"] == first["download"] and (folder / "dvc.lock").read_text() == lock
    run(folder, "tools.repro", "--source", "kaggle", **archive)
    (mine / "dog/0.jpg").write_bytes(photos["dog"][50])
    output = run(folder, "tools.repro", "--photos", str(mine))
    assert stages_run(output) == ["download", "subsample"], "DVC's run cache sees no folder"
    assert settings(folder)["download"]["sha256"] == noted(folder)["digest"] != first["download"]["sha256"]


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


def sizes(folder: Path, *changes: str) -> dict:
    """The sizes of splits that a run takes of a folder of the user's own photos, with params.yaml as it is committed."""
    found, asked = listing.of("path", folder), recipe.changed_by(settings(ROOT), changes)["subsample"]
    found.check()
    taken = plan.subsample(found.counts(), found.splits(), asked, changes)
    return {split: taken[split] for split in dataset.SPLITS}


def test_own_photos_take_shares_where_the_numbers_cannot_be_met(photos, tmp_path):
    mine = own(tmp_path / "mine", photos)
    assert sizes(mine) == draw.SHARES
    asked = settings(ROOT)["subsample"]
    line = plan.draws({"cat": 30, "dog": 30}, asked, asked | draw.SHARES)
    assert "more photos of each than there are: a run takes shares." in line
    assert "Drawn from them: 36 train, 12 validation, 12 test; the rarest class, cat, has 6 of the test photos." in line
    of = {"train": 10, "validation": 5, "test": 5}
    assert sizes(mine, *(f"subsample.{split}={size}" for split, size in of.items())) == of
    for changes, words in (
        (("subsample.train=40",), "subsample.train=40 can't be met: the class cat has 30 photos"),
        (("subsample.train=0.6", "subsample.validation=0.2", "subsample.test=0.4"), "1.2: 1 at most"),
    ):
        with pytest.raises(UserError, match=words):
            sizes(mine, *changes)


def test_splits_that_folders_give_are_counted_as_they_are(photos, tmp_path):
    for split, of_split in {"train": slice(0, 15), "test": slice(15, 20)}.items():
        own(tmp_path / split, {kind: of_kind[of_split] for kind, of_kind in photos.items()})
    found, asked = listing.of("path", tmp_path), settings(ROOT)["subsample"] | {"train": 0.75, "validation": 0.25, "test": 0.2}
    assert plan.split(found, asked) == (22, 8, 10), "30 to learn from, and a quarter of each class' 15 validates"
    assert sum(plan.split(found, asked | draw.SHARES | {"parts": 5, "part_is": "test"})) == 40


def test_too_few_photos_or_classes_are_refused_and_very_many_are_summed_up(photos, tmp_path):
    cat, dog = photos.values()
    with pytest.raises(UserError, match="holds one class"):
        sizes(own(tmp_path / "one", {"cat": cat}))
    with pytest.raises(UserError, match="The class dog has 2 photos: each class needs three"):
        sizes(own(tmp_path / "two", {"cat": cat, "dog": dog[:2]}))
    assert sizes(own(tmp_path / "three", {"cat": cat, "dog": dog[:3]})) == draw.SHARES
    assert plan.classes({"cat": 30, "dog": 3}) == "2 classes, 33 photos: cat 30, dog 3."
    many = plan.classes({f"kind{n:03}": 3 + n % 20 for n in range(200)})
    assert many == "200 classes, 2500 photos: from 3 (kind000) to 22 (kind019) a class."
