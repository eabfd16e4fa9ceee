"""`make check`: what it finds in a folder before a long run."""

import io
from pathlib import Path

import numpy as np
import pytest
from conftest import NO_INDEX, clone, jpeg, run
from drawn import fill, listed, many
from PIL import Image
from written import png16

from littledata.photos import listing
from littledata.splits import looks
from tools import check


@pytest.fixture
def mine(photos, tmp_path) -> Path:
    """12 photos of each of two classes, and one of everything that can be wrong."""
    mine = tmp_path / "mine"
    for kind, of_kind in photos.items():
        fill(mine, *many(f"{kind}/deeper", each=12), data=of_kind)
    (mine / "dog/night.png").write_bytes(png16(np.full((64, 64), 40, np.uint16)))
    (mine / "cat/broken.jpg").write_bytes(photos["cat"][0][:100])
    (mine / "cat/copy.jpg").write_bytes(photos["cat"][1])
    with Image.open(io.BytesIO(photos["cat"][2])) as image:
        image.resize((150, 120)).save(mine / "dog/resized.png")
    (mine / "notes.txt").write_text("no photo")
    return mine


def test_what_is_wrong_with_a_folder_is_said(pipeline, mine):
    before = {path: path.stat().st_mtime_ns for path in mine.rglob("*")}
    output = run(pipeline, "tools.check", str(mine))
    assert "2 classes, 28 photos, 26 of them usable" in output
    assert "cat: 12, shorter side 64 to 64 px" in output and "dog: 14, shorter side 64 to 120 px" in output
    assert "can't be used: 1\n  cat/broken.jpg: can't be decoded" in output
    assert "next to no contrast: 1\n  dog/night.png: nearly all of it within 1 of 256 shades" in output
    assert "copies, of which one counts: 1\n  cat/deeper/1.jpg = cat/copy.jpg" in output
    assert "left out: 1 .txt" in output
    assert "near-duplicates in different classes, one of them wrong: 1\n  cat/deeper/2.jpg ~ dog/resized.png" in output
    assert "params.yaml asks for 24 train, 10 validation, 8 test photos a class." in output
    assert "too few to say how well they are told apart: 2\n  cat\n  dog\n" in output
    assert "so make repro takes shares of every class: subsample.train=0.6 subsample.validation=0.2 subsample.test=0.2" in output
    assert {path: path.stat().st_mtime_ns for path in mine.rglob("*")} == before
    found = [tuple(row.items()) for row in listed(pipeline / check.CSV)]
    assert f"data/check.csv has all of it: {len(found)} rows." in output
    for row in (
        ("copies, of which one counts", "cat/deeper/1.jpg", "cat/copy.jpg"),
        ("near-duplicates in different classes, one of them wrong", "cat/deeper/2.jpg", "dog/resized.png"),
    ):
        assert tuple(zip(("finding", "name", "what"), row)) in found
    for number in range(20):
        (mine / f"cat/empty{number:02}.jpg").touch()
    output = run(pipeline, "tools.check", str(mine))
    assert "can't be used: 21\n" in output and "  ... and 13 more in data/check.csv\n" in output
    names = {row["name"] for row in listed(pipeline / check.CSV) if row["finding"] == "can't be used"}
    assert names == {"cat/broken.jpg", *(f"cat/empty{number:02}.jpg" for number in range(20))}


def test_pictures_with_next_to_no_contrast_are_named_by_the_range_of_all_photos(photos, tmp_path):
    """12-bit photos have contrast; one that holds 8 bits among them has next to none, nor has a plain one."""
    (tmp_path / "cat").mkdir()
    for number, data in enumerate([*photos["cat"][:5], None]):
        grey = np.asarray(Image.open(io.BytesIO(data)).convert("L")) if data else np.full((32, 32), 2048)
        grey = grey.astype(np.uint16)
        (tmp_path / f"cat/{number}.png").write_bytes(png16(grey << 4 if data and number else grey))
    (tmp_path / "cat/plain.jpg").write_bytes(jpeg(Image.new("RGB", (64, 64), (90, 20, 30))))
    seen, depth = looks.at_all(listing.of_archive(tmp_path))
    assert depth.integer == (0, 4095)
    assert [look.photo.name for look in seen if look.spread < check.CONTRAST] == ["cat/5.png", "cat/plain.jpg"]
    assert seen[0].spread < 20 < min(look.spread for look in seen[1:5])


def test_a_label_that_the_other_photos_speak_against_is_named(pipeline, photos, tmp_path):
    """A dog among pictures of noise."""
    fill(tmp_path / "mine", *many("dog", each=20), "noise/odd.jpg", data=photos["dog"])
    for number, noise in enumerate(np.random.default_rng(1).integers(0, 256, (20, 64, 64, 3), "uint8")):
        Image.fromarray(noise).save(tmp_path / f"mine/noise/{number}.png")
    output = run(pipeline, "tools.check", str(tmp_path / "mine"))
    assert "labels to look at: 1\n  noise/odd.jpg looks like dog\n" in output


@pytest.mark.parametrize(
    "layout, message",
    [
        ({}, "holds no photos in class folders: expected"),
        ({"cat": 3}, "holds one class (cat): at least two are needed"),
        ({"cat": 20, "dog": 2}, "The class dog has 2 usable photos, and each class needs three or more: add some."),
        (None, "nowhere: name one with a folder of photos for every class, or a zip of it."),
    ],
)
def test_what_would_stop_a_run_is_said_at_once(pipeline, photos, tmp_path, layout, message):
    for kind, count in (layout or {}).items():
        fill(tmp_path, *many(kind, each=count), data=photos[kind])
    folder = tmp_path / ("nowhere" if layout is None else "")
    assert message in run(pipeline, "tools.check", str(folder), check=False).splitlines()[-1]


def test_without_the_networks_weights_the_rest_is_said(photos, tmp_path):
    folder = clone(tmp_path)
    for kind in photos:
        fill(tmp_path / "mine", *many(kind, each=42), data=photos[kind])
    output = run(folder, "tools.check", str(tmp_path / "mine"), HOME=str(tmp_path), **NO_INDEX)
    assert "VGG16's weights can't be had" in output and "The labels were not checked" in output
    assert "With 16 test photos an accuracy of 0.9 means" in output
