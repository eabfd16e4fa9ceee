"""The store of averaged features: what the network says of every photo of a list, computed once."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, own

from littledata.core import files, params, paths
from littledata.core.errors import UserError
from littledata.features import activations
from littledata.networks import backbone, lite, models
from littledata.photos import archive, listing
from littledata.photos.photo import Photo
from littledata.pictures import deep, images
from littledata.shards import store
from littledata.splits import dataset
from littledata.training import batches
from stages import top

SETTINGS = SimpleNamespace(backbone=lite.NAME, image_size=64, preprocessing="imagenet", fit="squash")
TEN = [str(number) for number in range(10)]


@pytest.fixture(scope="session")
def weights(lite_features) -> Path:
    return lite_features.parent / "lite.weights.h5"


@pytest.fixture
def folder(photos, tmp_path, monkeypatch) -> Path:
    """60 photos and one that is none; shards of ten in a store of its own."""
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "store"))
    monkeypatch.setattr(store, "SIZE", 10)
    mine = own(tmp_path / "mine", photos)
    (mine / "dog/broken.jpg").write_bytes(b"broken")
    return mine


def photos_of(folder: Path) -> list[Photo]:
    paths = sorted(folder.rglob("*.jpg"))
    return [Photo(str(path), path.stat().st_size, archive.stamp(path.stat()), path.parent.name) for path in paths]


def written(photos: list[Photo], path: Path) -> Path:
    with open(path, "wb") as file:
        listing.write(file, photos)
    return path


def filled(network: bytes, photos: list[Photo], folder: Path) -> tuple[list[str], np.ndarray]:
    """The names and features of what a folder gets from the store."""
    names, features, every = [], [], []
    for file in store.fill(network, written(photos, folder.with_suffix(".csv")), folder):
        table = activations.opened(file)
        every += table["file"].to_pylist()
        usable = [row for row, why_not in enumerate(table["why_not"].to_pylist()) if why_not is None]
        names += [table["file"][row].as_py() for row in usable]
        features.append(activations.numbers(table)[usable])
    assert every == [photo.key for photo in photos]
    return names, np.concatenate(features)


def test_features_are_the_networks_averaged_and_are_computed_once(weights, lite_features, folder, tmp_path, capsys):
    network = lite_features.read_bytes()
    assert network == store.export(weights, SETTINGS, None)
    photos = photos_of(folder)
    names, features = filled(network, photos, tmp_path / "one")
    assert "61 listed photos, 61 of them computed, 1 have no features" in capsys.readouterr().out
    assert names == [photo.key for photo in photos if "broken" not in photo.key]
    pixels = np.stack([images.square(Path(name).read_bytes(), 64) for name in names])
    maps = backbone.load(lite.NAME, weights, 64).predict_on_batch(backbone.preprocess(lite.NAME, pixels))
    assert features.dtype == np.float16 and features.shape == (60, 1280)
    np.testing.assert_allclose(features, maps.mean((1, 2)), atol=0.01 * np.abs(maps).max())

    before = {path: path.stat().st_ino for path in (tmp_path / "store").rglob("*.arrow")}
    assert len(before) > 4 and {path.stat().st_ino for path in (tmp_path / "one").iterdir()} == set(before.values())
    again = filled(network, photos, tmp_path / "two")
    assert "61 listed photos, 0 of them computed" in capsys.readouterr().out and np.array_equal(again[1], features)
    assert {path: path.stat().st_ino for path in (tmp_path / "store").rglob("*.arrow")} == before


def test_a_damaged_shard_is_computed_anew(lite_features, folder, tmp_path, monkeypatch, capsys):
    network = lite_features.read_bytes()
    photos = photos_of(folder)
    filled(network, photos, tmp_path / "one")
    right = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    stored = sorted((tmp_path / "store").rglob("*.arrow"))
    for path, at in zip(stored, (10, -20, 3000, None)):  # in the head, in the footer, between; cut off
        data = bytearray(path.read_bytes())
        path.unlink()  # the outs are linked
        if at is not None:
            data[at] ^= 4
        path.write_bytes(data if at is not None else data[: len(data) // 2])
    os.utime(folder / "cat/20.jpg", (1, 1))  # and rows of damaged ones are not copied, but those of others are
    photos = photos_of(folder)
    capsys.readouterr()
    filled(network, photos, tmp_path / "two")
    printed = capsys.readouterr().out
    assert 3 <= printed.count("is damaged: computed anew") <= 4, printed
    assert 1 <= int(re.search(r"61 listed photos, (\d+) of them computed", printed)[1]) < 30
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "another store"))
    filled(network, photos, tmp_path / "three")
    two, three = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("two", "three"))
    assert two == three and set(two) == set(right)


def drawn(listed_photos: list[Photo]) -> list[dataset.Photo]:
    """Write the list and a manifest: ten photos a class are drawn, every second one to train, the others to validate."""
    Path("data").mkdir()
    written(listed_photos, paths.LISTED)
    manifest = []
    for split in ("train", "validation"):
        for path in (Path(photo.key) for photo in listed_photos):
            if path.stem in TEN and TEN.index(path.stem) % 2 == ("train", "validation").index(split):
                kind, sha256 = path.parent.name, files.sha256_of(path)
                manifest.append(dataset.Photo(f"{split}/{kind}/{path.name}", kind, split, str(path), sha256))
    dataset.write_manifest(manifest)
    return manifest


def settings(**changed) -> SimpleNamespace:
    """Params, of which those of `top` are changed."""
    top = params.load(ROOT / "params.yaml").top.model_dump() | {"listed": True, "units": 0, "epochs": 3} | changed
    return SimpleNamespace(**vars(SETTINGS), seed=1, top=SimpleNamespace(**top), finetune=SimpleNamespace(unfreeze=["block5a"]))


def stored(photos: Iterable[dataset.Photo], weights: Path) -> None:
    """What the stage writes of drawn photos."""
    whole = backbone.load(lite.NAME, weights, 64)
    for split in ("train", "validation"):
        of_split = dataset.of_split(list(photos), split)
        pixels = np.stack([images.square(Path(photo.original).read_bytes(), 64) for photo in of_split])
        maps = whole.predict_on_batch(backbone.preprocess(lite.NAME, pixels))
        with activations.writer(activations.BOTTLENECK, of_split, 1, maps.shape[1:]) as append:
            append(maps)


def test_level_2_learns_from_what_was_not_drawn(weights, folder, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (folder / "dog/20.jpg").write_bytes((folder / "dog/1.jpg").read_bytes())  # a copy of one that validates
    photos = photos_of(folder)
    manifest = drawn(photos)
    monkeypatch.setattr(paths, "WEIGHTS", weights)
    deep.write(deep.UNKNOWN)
    stored(manifest, weights)
    rows = np.array(list(store.listed(settings())), np.int32)
    np.save(activations.ROWS, rows)
    assert rows.shape == (60 - 20 - 1, 3)
    taken = {photo.original for photo in manifest} | {str(folder / "dog/20.jpg"), str(folder / "dog/broken.jpg")}
    other = [photo.key for photo in photos if photo.key not in taken]
    found = activations.Averages()
    named = [activations.opened(file)["file"].to_pylist() for file in sorted(activations.SHARDS.iterdir())]
    assert [named[shard][row] for shard, row, _ in rows] == other
    assert [["cat", "dog"][label] for label in found.labels] == [Path(key).parent.name for key in other]

    train = batches.averaged(8, 1, None)
    assert len(train.labels) == 10 + len(other)
    batch = train.view(1, np.array([3, 10, 48]))
    array, _ = activations.read(activations.BOTTLENECK, "train")
    assert batch.shape == (3, 1, 1, 1280)
    np.testing.assert_array_equal(batch[0, 0, 0], array[3, 0].astype(np.float32).mean((0, 1)))
    np.testing.assert_array_equal(batch[1:, 0, 0], found.read(np.array([0, 38])))

    whole = models.top((2, 2, 1280), 2, params.load(ROOT / "params.yaml").top.model_copy(update={"units": 0}))
    maps = np.random.default_rng(1).random((3, 2, 2, 1280), np.float32)
    same = models.on_averages(whole).predict_on_batch(maps.mean((1, 2), keepdims=True))
    np.testing.assert_allclose(same, whole.predict_on_batch(maps), rtol=1e-5)


def test_what_level_2_can_t_learn_from_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="top.listed takes averaged features, and top.pooling is flatten: set it to average"):
        top.main(settings(pooling="flatten"))
    Path("data").mkdir()
    written([], paths.LISTED)
    with pytest.raises(UserError, match="top.listed takes photos of a bucket or a list, and these are of neither"):
        next(store.listed(settings()))
