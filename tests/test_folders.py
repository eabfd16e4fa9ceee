"""Whatever people's folders and zips hold: which files are photos, of which class, by what names, and a draw that stays."""

import hashlib
import os
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import pytest
from drawn import PHOTOS, PIXEL, bring, draw, drawn, fill, listed, many, nothing_brought, one_line

from littledata.core import files, tables
from littledata.photos import archive, download, layout, listing, names, sources
from littledata.splits import dataset
from littledata.splits import draw as drawing


def classes(path: Path) -> dict[str, int]:
    found = listing.of_archive(path)
    found.check()
    return found.counts()


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """An empty folder for photos; stages run beside it."""
    (tmp_path / "project/data").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "mine"


def splits(manifest: list[dataset.Photo]) -> dict[str, str]:
    """The split of every photo, by its original name."""
    return {photo.original: photo.split for photo in manifest}


# A draw that stays


@pytest.mark.parametrize("settings", [{}, {"train": 100, "validation": 50, "test": 49}, {"parts": 5, "part": 2}])
def test_one_photo_more_moves_hardly_another_and_renames_none(mine, settings):
    before, _ = drawn(mine, *many("cats", "dogs", each=200), **settings)
    (mine / "cats/000 new.jpg").write_bytes(PHOTOS[400])
    after, _ = drawn(mine, **settings)
    was, now = splits(before), splits(after)
    assert sum(was[name] != now[name] for name in was.keys() & now.keys()) <= 4
    assert len(was.keys() - now.keys()) <= 1  # where numbers are asked for, it takes one's place
    assert all(was[name] == now[name] for name in was if name.startswith("dogs"))
    kept = {photo.sha256: Path(photo.file).name for photo in before}
    assert all(kept.get(photo.sha256, Path(photo.file).name) == Path(photo.file).name for photo in after)
    assert all(Path(photo.file).stem == photo.sha256[:16] and photo.path.read_bytes() in PHOTOS for photo in after)


def test_names_places_and_other_classes_dont_matter_to_the_draw(mine):
    before = {photo.sha256: photo.split for photo in drawn(mine, *many("cats", "dogs", each=30))[0]}
    (mine / "cats").rename(mine / "zz cats")
    (mine / "dogs/7.jpg").rename(mine / "dogs/something else.jpg")
    assert {photo.sha256: photo.split for photo in drawn(mine)[0]} == before
    other = {photo.sha256: photo.split for photo in draw(seed=2)[0]}
    assert other.keys() == before.keys() and other != before


def test_every_photo_validates_in_one_part(mine):
    manifest, _ = drawn(mine, *many("cats", "dogs", each=23))
    test = {photo.sha256 for photo in manifest if photo.split == "test"}
    validated = []
    for part in range(1, 5):
        manifest, _ = draw(parts=4, part=part)
        validated += [photo.sha256 for photo in manifest if photo.split == "validation"]
        assert {photo.sha256 for photo in manifest if photo.split == "test"} == test
    assert len(validated) == len(set(validated)) == 46 - len(test)


def test_three_photos_a_class_are_drawn_and_two_are_one_line(mine):
    manifest, _ = drawn(mine, *many("cats", "dogs", each=3))
    assert Counter(photo.split for photo in manifest) == dict.fromkeys(dataset.SPLITS, 2)
    (mine / "cats/2.jpg").write_bytes(b"broken")
    with one_line("the class cats has 2 usable photos of 3, too few for every split .*1 not a picture"):
        drawn(mine)


def test_two_hundred_classes(mine, capsys):
    assert len(drawn(mine, *many(*map("{:03}".format, range(140)), each=3))[0]) == 420 and len(capsys.readouterr().out) < 2000


def test_where_too_few_are_usable_the_reasons_are_kept(mine):
    fill(mine, *many("cats", "dogs", each=9))
    for name in (*(f"cats/bad{number}.jpg" for number in range(5)), "dogs/bad.jpg"):
        (mine / name).touch()  # the same bytes, and no photo in two classes
    (mine / "dogs/copy.jpg").write_bytes((mine / "dogs/1.jpg").read_bytes())
    bring(mine)
    with one_line(r"cats has 9 usable .* of 14; .* 6 the file is empty, 1 a copy; data/skipped.csv"):
        draw(train=10, validation=2, test=1)
    assert len(tables.rows(drawing.SKIPPED)) == 7 and not dataset.PHOTOS.exists()


def test_a_photo_in_two_classes_is_used_in_neither(mine, capsys):
    fill(mine, *many("cats", "dogs", each=9))
    (mine / "dogs/also a cat.jpg").write_bytes((mine / "cats/3.jpg").read_bytes())
    manifest, skipped = drawn(mine)
    assert len(manifest) == 17
    assert skipped == {
        "cats/3.jpg": "in two classes: the same bytes as dogs/also a cat.jpg",
        "dogs/also a cat.jpg": "in two classes: the same bytes as cats/3.jpg",
    }
    assert "photos in two classes, used in neither: cats/3.jpg, dogs/also a cat.jpg" in capsys.readouterr().out


@pytest.fixture
def mixed(mine, monkeypatch) -> None:
    """Kaggle's archive, brought: 50 photos a class, all kinds of bad ones and copies."""
    bad = {
        "train/cat.900.jpg": b"", "train/cat.901.jpg": PHOTOS[0][:200], "train/cat.902.jpg": b"a text file", "train/cat.903.png": PIXEL,
        "train/dog.904.jpg": PHOTOS[3], "train/dog.905.jpg": PHOTOS[53],
    }  # fmt: skip
    whole = {f"train/{kind}.{n}.jpg": PHOTOS[50 * place + n] for place, kind in enumerate(("cat", "dog")) for n in range(50)}
    files.write_zip(mine / "train.zip", (whole | bad).items())
    monkeypatch.setenv(sources.ARCHIVE_VARIABLE, str(mine / "train.zip"))
    bring(source="kaggle")


def test_bad_photos_are_skipped_and_listed_and_copies_are_drawn_once(mixed):
    # dog.905 is dog.3's copy, and nobody knows what cat.3 and dog.904 show
    manifest, skipped = draw(train=29, validation=10, test=10)
    assert len(manifest) == 98
    assert {name for name in skipped if not name.startswith("train/cat.90")} == {
        "train/cat.3.jpg", "train/dog.904.jpg", "train/dog.905.jpg"
    }  # fmt: skip
    assert skipped["train/dog.905.jpg"] == "a copy: the same bytes as train/dog.3.jpg"
    assert skipped["train/cat.3.jpg"] == "in two classes: the same bytes as train/dog.904.jpg"
    blogs, _ = draw(train=29, validation=10, test=10, order="archive")
    for kind in ("cat", "dog"):
        expected = [f"train/{kind}.{number}.jpg" for number in range(50) if (kind, number) != ("cat", 3)]
        for split, start, end in (("train", 0, 29), ("validation", 29, 39), ("test", 39, 49)):
            assert {p.original for p in blogs if (p.kind, p.split) == (kind, split)} == set(expected[start:end])
    draws = [draw(train=25, validation=10, test=10, seed=seed)[0] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_shares_of_every_class_are_drawn_and_what_remains_where_it_is_asked_for(mixed):
    shares = {"train": 0.5, "validation": 0.25, "test": 0.2}
    sizes = Counter((photo.split, photo.kind) for photo in draw(**shares)[0])
    for kind, usable in (("cat", 49), ("dog", 50)):
        assert {split: sizes[split, kind] for split in dataset.SPLITS} == drawing.counts(shares, usable)
    without, _ = draw(train=20, validation=10, test=5)
    manifest, _ = draw(train=20, validation=10, test=5, remaining=True)
    assert [photo for photo in manifest if photo.split != dataset.REST] == without
    assert Counter(photo.split for photo in manifest) == {"train": 40, "validation": 20, "test": 10, dataset.REST: 29}


@pytest.mark.parametrize(
    "shares, found, sizes",
    [
        ((0.6, 0.2, 0.2), 300, (180, 60, 60)),
        ((0.6, 0.2, 0.2), 3, (1, 1, 1)),
        ((0.6, 0.2, 0.2), 4, (2, 1, 1)),
        ((0.6, 0.2, 0.2), 5, (3, 1, 1)),
        ((0.33, 0.33, 0.34), 50, (16, 17, 17)),  # rounded one by one they would be 16, 16 and 17
        ((0.5, 0.2, 0.1), 10, (5, 2, 1)),
        ((1000, 400, 200), None, (1000, 400, 200)),
        ((0.6, 0.3, 0.2), 9, "add up to 1.1"),
        ((0.6, 100, 0.2), 9, "give three numbers, or three shares"),
    ],
)
def test_how_many_photos_a_share_is(shares, found, sizes):
    asked = dict(zip(dataset.SPLITS, shares))
    if isinstance(sizes, tuple):
        assert tuple(drawing.counts(asked, found).values()) == sizes
    else:
        with one_line(sizes):
            drawing.counts(asked, found)


# Which class


@pytest.mark.parametrize(
    "three", [("train", "validation", "test"), ("Train_Set", "valid", "TEST"), ("train2017", "val2017", "holdout")]
)
@pytest.mark.parametrize("above", [True, False])
def test_given_splits_are_taken(mine, three, above, capsys):
    folders = (f"{split}/{kind}" if above else f"{kind}/{split}" for split in three for kind in ("cats", "dogs"))
    manifest, _ = drawn(mine, *many(*folders), train=1000, validation=400, test=200)
    assert {photo.kind for photo in manifest} == {"cats", "dogs"} and len(manifest) == 30
    assert all(three[dataset.SPLITS.index(photo.split)] in photo.original.split("/") for photo in manifest)
    assert "Splits are those of the folders: " in capsys.readouterr().out


def test_splits_and_classes_in_one_name(mine):
    kinds = ("cats", "hot-dogs")
    manifest, _ = drawn(mine, *many(*(f"{split}_{kind}" for split in ("train", "test", "val") for kind in kinds)))
    found = Counter((photo.split, photo.kind) for photo in manifest)
    assert found == {(split, kind): 5 for split in dataset.SPLITS for kind in kinds}


@pytest.mark.parametrize("second", ["validation", "test_set"])
def test_of_two_given_splits_the_second_is_for_testing(mine, second, capsys):
    """The blog's own layout."""
    folders = (f"data/{split}/{kind}" for split in ("train", second) for kind in ("cats", "dogs"))
    manifest, _ = drawn(mine, *many(*folders, each=20), train=1000, validation=250, test=7)
    assert {photo.kind for photo in manifest} == {"cats", "dogs"}
    assert Counter(photo.split for photo in manifest) == {"train": 32, "validation": 8, "test": 40}
    assert all((photo.split == "test") == photo.original.startswith(f"data/{second}/") for photo in manifest)
    assert "validation photos are drawn from train" in capsys.readouterr().out
    folds = [photo for fold in (1, 2) for photo in draw(parts=2, part=fold)[0] if photo.split == "validation"]
    assert len({photo.sha256 for photo in folds}) == len(folds) == 40


def test_of_given_splits_a_leak_is_not_learnt_from_and_one_without_a_usable_photo_is_one_line(mine):
    fill(mine, *many(*(f"{split}/{kind}" for split in ("train", "val", "test") for kind in ("cats", "dogs")), each=3))
    (mine / "train/cats/leak.jpg").write_bytes((mine / "test/cats/1.jpg").read_bytes())
    manifest, skipped = drawn(mine)
    assert len(manifest) == 18
    assert skipped == {"train/cats/leak.jpg": "a copy in train of a photo in test: the same bytes as test/cats/1.jpg"}
    for number in range(3):
        (mine / f"val/dogs/{number}.jpg").write_bytes(b"broken")
    with one_line(r"dogs has 6 usable photos of 9, too few for .* \(3 train, 0 validation, 3 test\)"):
        drawn(mine)


@pytest.mark.parametrize(
    "paths, message",
    [
        (["train/cats/1", "train/dogs/1", "test/cats/1"], "test has cats and lacks dogs"),
        (["train/cats/1", "train/dogs/1", "test/Cats/1", "test/dogs/1"], "lacks"),
        (["cats/train/1", "cats/test/1", "dogs/train/1"], "cats is parted into train, test, and dogs not"),
        (["cats/train/1", "cats/test/1", "dogs/train/1", "dogs/val/1"], "don't have the splits in common"),
        (["train/1", "test/1"], "expected train/<class>/<photo>.jpg"),
        (["val/cats/1", "val/dogs/1", "test/cats/1", "test/dogs/1"], "none of them is for training"),
        (["pictures/cats/1", "pictures/dogs/1", "birds/1"], "if the classes are cats, dogs, name pictures"),
        (["train/cats/1", "train/dogs/1", "birds/1"], "if the classes are cats, dogs, name train"),
        (["train_cats/1", "train_dogs/1", "test_cats/1"], "test has cats and lacks dogs"),
        (["set1/cats/1", "set1/dogs/1", "set2/cats/1", "set2/dogs/1"], "name one of the former"),
    ],
)
def test_what_may_be_meant_in_two_ways_is_one_line(paths, message):
    with one_line(message):
        layout.find(paths)


@pytest.mark.parametrize(
    "paths, found, outside",
    [
        (["cats/siamese/1", "cats/persian/1", "dogs/1"], {"cats": 2, "dogs": 1}, []),
        (["cats/siamese/1", "cats/2", "dogs/2023/1", "birds/1"], {"cats": 2, "dogs": 1, "birds": 1}, []),
        (["mine/cats/1", "mine/dogs/1"], {"cats": 1, "dogs": 1}, []),
        (["a/b/cats/1", "a/b/dogs/1", "a/2"], {"cats": 1, "dogs": 1}, ["a/2"]),
        (["mine/cats/1", "mine/dogs/1", "stray", "samples/1"], {"cats": 1, "dogs": 1}, ["stray", "samples/1"]),
        (["train/cats/1", "train/dogs/1", "test/1", "test/2"], {"cats": 1, "dogs": 1}, ["test/1", "test/2"]),
        (["train/1", "bus/1"], {"train": 1, "bus": 1}, []),
        (["valid/1", "invalid/1"], {"valid": 1, "invalid": 1}, []),
    ],
)
def test_class_folders_are_recognised(mine, paths, found, outside):
    fill(mine, *(f"{path}.jpg" for path in paths))
    listed = listing.of_archive(mine)
    assert listed.counts() == found and not any(photo.split for photo in listed.photos)
    assert [photo[0::5] for photo in listed.skipped] == [(f"{path}.jpg", "outside class folders") for path in sorted(outside)]
    assert not outside or any(line.startswith("skipped, outside class folders: ") for line in listed.notes)


def test_what_systems_keep_beside_photos_is_left_out_and_counted(mine, capsys):
    system = [
        "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", ".Trash-1000", "#snapshot", "@Recycle", "System Volume Information",
        ".thumbnails", "__MACOSX", ".AppleDouble", "FOUND.000", ".picasaoriginals", ".@__thumb", "@Recently-Snapshot",
    ]  # fmt: skip
    fill(mine, *many("cats", "dogs"), *(f"{name}/x.jpg" for name in system), *(f"cats/{name}/y/x.jpg" for name in system))
    (mine / "cats/._1.jpg").write_bytes(PHOTOS[300])
    for name in ("1.mov", "2.mov", "3.MOV", "table.xlsx", "read me"):
        (mine / "dogs" / name).write_bytes(b"\0\0no picture")
    bring(mine)
    said = capsys.readouterr().out
    assert "left out: 3 .mov, 2 in #recycle, 2 in #snapshot" in said and "1 hidden" in said and "1 .xlsx" in said
    assert "1 without an ending" in said and all(f"2 in {name}" in said for name in system)
    manifest, skipped = draw()
    assert len(manifest) == 10 and not skipped


def test_contents_say_what_is_a_photo(mine):
    birds = ("1.jfif", "2.jpe", "3.mpo", "4", "5.download", "6.JPG_large")
    fill(mine, *many("cats", "dogs"), *(f"birds/{name}" for name in birds))
    (mine / "birds/notes.txt").write_text("no photo")
    assert classes(mine) == {"birds": 6, "cats": 5, "dogs": 5}
    manifest, _ = drawn(mine)
    assert {Path(photo.file).suffix for photo in manifest if photo.kind == "birds"} == {"", ".jfif", ".jpe", ".mpo", ".download"}


CANON = b"II*\0\x10\0\0\0CR\2\0"


@pytest.mark.parametrize(
    "paths, others, message",
    [
        (["1.jpg", "2.jpg"], {"film.mov": b"\0"}, "no photos in class folders; it holds 2 outside class folders, 1 .mov: expected"),
        (many("cats"), {}, r"holds one class \(cats\): at least two are needed"),
        ([*many("dogs"), *(b"\xe9" * 200 + b"/%d.jpg" % number for number in range(5))], {}, "has a name too long"),
        (
            many("cats", "dogs"),
            {"birds/1.CR2": CANON, "birds/2.nef": CANON, "birds/3.txt": b"no photo"},
            r"no photo of the class birds can be used \(1 a RAW photo \(Canon CR2\), 1 a RAW",
        ),
    ],
)
def test_what_no_params_could_use_is_one_line(mine, paths, others, message):
    fill(fill(mine, *paths), *others, data=others.values())
    with one_line(message):
        bring(mine)
    assert nothing_brought()


def test_folders_that_may_be_meant_otherwise_are_named(mine):
    fill(mine, *many("cats", "Cats", "dogs", "samples", each=3), "films/1.mov", "cats/raw.dng", data=[*PHOTOS[:12], b"\0", CANON])
    (mine / "empty").mkdir()
    found = listing.of_archive(mine)
    assert found.notes == [
        "samples is taken as a class: move it out if it is none.",
        "Cats and cats are two classes: name them alike if they are one.",
        "no class: the folder empty holds no photo (it is empty)",
        "no class: the folder films holds no photo (1 .mov)",
    ]
    assert [photo[0::5] for photo in found.skipped] == [("cats/raw.dng", "a RAW photo (Adobe DNG): export it as JPEG, TIFF or PNG")]


# Folders: links, and what can't be read


def test_what_cannot_be_read_is_named(mine, monkeypatch):
    fill(mine, *many("cats", "dogs"), "cats/locked.jpg", "cats/inner/1.jpg")
    (mine / "cats/gone.jpg").symlink_to("nowhere.jpg")
    (mine / "cats/round").symlink_to(mine)
    os.mkfifo(mine / "cats/pipe.jpg")
    scandir, opened, locked = os.scandir, open, [mine / "cats/inner"]
    monkeypatch.setattr(os, "scandir", lambda path: refused() if path in locked else scandir(path))
    monkeypatch.setattr("builtins.open", lambda path, *a, **k: refused() if "locked" in str(path) else opened(path, *a, **k))

    def refused():
        raise PermissionError(13, "Permission denied")

    manifest, skipped = drawn(mine)
    assert len(manifest) == 10
    assert skipped == {
        "cats/gone.jpg": "a link to nothing",
        "cats/inner/": "a folder that can't be read: Permission denied",
        "cats/locked.jpg": "can't be read: Permission denied",
        "cats/pipe.jpg": "a pipe, a socket or a device",
        "cats/round": "a link to a folder that is listed anyway: the whole folder",
    }
    (mine / "fish").symlink_to(mine / "cats")
    found = listing.of_archive(mine)
    assert "fish: a link to a folder that is listed anyway: cats" in found.notes
    assert ("fish", "a link to a folder that is listed anyway: cats") in [photo[0::5] for photo in found.skipped]
    locked.append(mine / "birds")
    fill(mine, "birds/1.jpg")
    with one_line("no photo of the class birds can be used .1 a folder that can't be read"):
        bring(mine)


def test_own_photos_are_read_and_written_once_and_their_folder_stays_as_it_is(mine, monkeypatch):
    fill(mine, *many("cats", "dogs"))
    before = {path: path.stat().st_mtime_ns for path in mine.rglob("*")}
    read, opened = archive.read, []
    monkeypatch.setattr(archive, "read", lambda zip_file, at, size=-1: opened.append(at) or read(zip_file, at, size))
    lines = [f"{files.sha256_of(mine / name)}  {name}\n" for name in sorted(many("cats", "dogs"))]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()  # as it has always been
    assert bring(mine, sha256=digest)["digest"] == digest and sorted(opened) == sorted(mine / name for name in many("cats", "dogs"))
    assert {path: path.stat().st_mtime_ns for path in mine.rglob("*")} == before
    zips = [path for path in mine.parent.rglob("*") if path.suffix in (".zip", ".part")]
    assert zips == [mine.parent / "project" / download.ZIP]
    with one_line(f"have sha256 {digest}, download.sha256 says otherwise"):
        bring(mine, sha256="0" * 64)


# Names


def test_names_that_are_not_utf8(mine):
    fill(mine, *(f"{kind}/{n}.jpg".encode("cp1252") for kind in ("Kätzchen", "Hünd") for n in range(4)))
    manifest, _ = drawn(mine, "Kätzchen/é.jpg".encode("latin-1"), "Kätzchen/é.jpg", b"K\xe4tzchen/\x81\x9d.jpg")
    assert {photo.kind for photo in manifest} == {"Kätzchen", "Hünd"}
    with one_line("is not UTF-8"):
        listing.own_photos(os.fsdecode(b"/tmp/K\xe4tzchen"))
    with zipfile.ZipFile(mine / "x.zip", "w") as made:
        made.writestr("cats/é.jpg", PHOTOS[0])
    (mine / "x.zip").write_bytes((mine / "x.zip").read_bytes().replace("é".encode(), b"\xe9A"))
    with one_line("can't be read here"):
        listing.of_archive(mine / "x.zip")


def test_names_that_become_equal_are_one_class_and_all_its_photos_are_kept(mine):
    manifest, skipped = drawn(mine, *many("Kätzchen", "Ka\u0308tzchen", "dogs", each=3))
    assert len(manifest) == 9 and not skipped and classes(mine) == {"Kätzchen": 6, "dogs": 3}
    assert sum(photo.name == "Kätzchen/0.jpg" for photo in listing.of_archive(mine).photos) == 2


def test_control_characters_fit_into_one_line(mine):
    fill(mine, *many("cats\nand more", "dogs\x1b[31m"))
    assert classes(mine) == {"cats\\nand more": 5, "dogs\\x1b[31m": 5}


def raw_zip(path: Path, written: list[bytes], system: int = 3, extra=lambda name: b"") -> Path:
    """A zip whose names are these bytes, without a flag that they are UTF-8."""
    stand_ins = [f"{n:0{len(name)}}" for n, name in enumerate(written)]
    with zipfile.ZipFile(path, "w") as made:
        for name, stand_in, data in zip(written, stand_ins, PHOTOS):
            entry = zipfile.ZipInfo(stand_in)
            entry.create_system, entry.extra = system, extra(name)
            made.writestr(entry, data)
    content = path.read_bytes()
    for name, stand_in in zip(written, stand_ins):
        content = content.replace(stand_in.encode(), name)  # in its local and its central header
    path.write_bytes(content)
    return path


def test_a_zips_names_of_other_encodings(mine):
    utf8 = raw_zip(mine / "utf8.zip", ["Kätzchen/aaaaaaaaa.jpg".encode(), b"Hunde/bbbbbbbbbbbb.jpg"])
    dos = raw_zip(mine / "dos.zip", ["Kätzchen/aaaaaaaaa.jpg".encode("cp437"), b"Hunde/bbbbbbbbbbbb.jpg"])

    def info_zip(name):
        right = name.decode("cp437").encode()
        return struct.pack("<HHBL", 0x7075, 5 + len(right), 1, zlib.crc32(name)) + right

    both = raw_zip(mine / "both.zip", ["Kätzchen/aaaaaaaaa.jpg".encode("cp437"), b"Hunde/bbbbbbbbbbbb.jpg"], extra=info_zip)
    for path in (utf8, dos, both):
        assert classes(path) == {"Hunde": 1, "Kätzchen": 1}, path
        found = listing.of_archive(path)
        assert sorted(found.read(photo) for photo in found.photos) == sorted(PHOTOS[:2])


@pytest.mark.parametrize("system", [0, 3])
def test_backslashes_separate_folders_where_windows_made_the_zip(mine, system):
    path = raw_zip(mine / "x.zip", [f"mine\\{kind}\\photo{n}.jpg".encode() for kind in ("cats", "dogs") for n in range(3)], system)
    assert classes(path) == {"cats": 3, "dogs": 3}
    assert listing.of_archive(path).photos[0].name == "mine/cats/photo0.jpg"


@pytest.mark.parametrize("name", [b"..\\..\\outside.jpg", b"C:\\outside\\x.jpg", b"\\outside\\x.jpg", b"C:outside\\x.jpg"])
def test_backslashes_dont_lead_outside_either(mine, name):
    with one_line("leads outside the archive"):
        listing.of_archive(raw_zip(mine / "x.zip", [b"cats\\photo-number-1.jpg", name], 0))


def test_two_entries_of_one_name_are_both_looked_at(mine, recwarn):
    with zipfile.ZipFile(mine / "x.zip", "w") as made:
        for name, data in zip([*many("cats", "dogs", each=4), "cats/1.jpg", "dogs/1.jpg"], PHOTOS):
            made.writestr(name, data)
    bring(mine / "x.zip")
    assert len(draw()[0]) == 10


def test_a_zip_is_listed_as_its_folder_is(mine):
    paths = [*many("mine/cats", "mine/dogs"), "mine/cats/@eaDir/x.jpg", "stray.jpg", "samples/1.jpg", "mine/dogs/film.mov"]
    fill(mine / "folder", *paths)
    (mine / "folder/mine/dogs/film.mov").write_bytes(b"\0")
    with zipfile.ZipFile(mine / "x.zip", "w") as made:
        for path in paths:
            made.write(mine / "folder" / path, path)
    one, other = listing.of_archive(mine / "folder"), listing.of_archive(mine / "x.zip")
    for some, same in (one.photos, other.photos), (one.skipped, other.skipped):
        assert [photo._replace(etag="") for photo in some] == [photo._replace(etag="") for photo in same]
    assert (one.left_out, one.notes) == (other.left_out, other.notes)
    assert one.left_out == {"in @eaDir": 1, ".mov": 1} and len(one.skipped) == 2


def test_markup_in_names_is_no_markup():
    assert tables.plain("a|b*c_d`e<f>g[h]\\i\nj") == r"a\|b\*c\_d\`e\<f\>g\[h\]\\i j"


def test_endings_of_files():
    assert [names.ending(name) for name in ("a/b.JPG", "a.b/c", ".jpg", "a/.x", "a.b c", "x.tar.gz", "x.ä")] == [
        ".jpg", "", "", "", "", ".gz", "",
    ]  # fmt: skip


def test_the_manifest_keeps_every_name(mine):
    kinds, odd = ("cats", "$do|gs_"), ['a, "b".jpg', "$x_1$.jpg", "a|b*c.jpg", "é ü.jpg", "ends with space .jpg"]
    named = [f"{kind}/{name}" for kind in kinds for name in odd]
    drawn(mine, *named)
    rows = listed(dataset.MANIFEST)
    assert sorted(row["original"] for row in rows) == sorted(named) and {row["class"] for row in rows} == set(kinds)
