"""Photos that stay where they are: in a bucket, in a folder that is read in place, or where a list says. Real stages, a real S3 server."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
import requests
import s3fs
from conftest import ROOT, change, clone, git, run, settings, stages_run
from pyarrow import parquet

from littledata.core.errors import UserError
from littledata.photos import listing, lists, places
from littledata.splits import dataset
from studies import s3
from tools import plan, repro

SIZES = {"subsample__train": 20, "subsample__validation": 6, "subsample__test": 6}
SHARES = dict(zip(SIZES, (0.6, 0.2, 0.2)))
ODD = {"ants": "Ameisen & Käfer #1/100 % echt?.jpg", "bees": "a+b=c/IMG (1).JPG"}  # keys with what URLs quote


@pytest.fixture(scope="module")
def mine(photos, tmp_path_factory) -> Path:
    """50 photos a class, some with odd names, beside what buckets hold as well."""
    folder = tmp_path_factory.mktemp("mine") / "photos"
    for kind, of_kind in zip(ODD, photos.values()):
        for number, data in enumerate(of_kind[:50]):
            path = folder / kind / (ODD[kind] if number == 0 else f"{number}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (folder / "ants/A.jpg").write_bytes(photos["cat"][50])
    (folder / "ants/a.jpg").write_bytes(photos["cat"][51])  # another key
    (folder / "bees/empty.jpg").write_bytes(b"")
    (folder / "bees/broken.jpg").write_bytes(photos["dog"][50][:200])
    (folder / "bees/copy.jpg").write_bytes(photos["dog"][1])
    (folder / "ants/both.jpg").write_bytes(photos["dog"][2])
    (folder / "readme.txt").write_text("nothing to see")
    (folder / "stray.jpg").write_bytes(photos["dog"][52])
    return folder


@pytest.fixture(scope="module")
def server(mine) -> Iterator[dict[str, str]]:
    """A bucket with the folder's files below photos/, as consoles and clients leave them; gives the environment of its readers."""
    with s3.server("ours", "hollow", "moving") as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        forget()
        client = s3.client(env)
        for path in (path for path in mine.rglob("*") if path.is_file()):
            client.put_object(Bucket="ours", Key=f"photos/{path.relative_to(mine)}", Body=path.read_bytes())
        for folder in ("photos/", "photos/ants/"):
            client.put_object(Bucket="ours", Key=folder, Body=b"")
        client.put_object(Bucket="ours", Key="photos2/cat/other.jpg", Body=b"of another prefix")
        yield env
    forget()


def forget() -> None:
    """The clients of this process know the server that they spoke to first."""
    places.client.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def folder(made) -> Path:
    """A clone in which stages run; before they start they remove what others have left."""
    change(made, **SIZES, subsample__seed=1, subsample__parts=0, subsample__part=1)
    return made


def bring(folder: Path, path: object, check: bool = True, **changes) -> str:
    """Run the stage `download` on photos that stay where they are."""
    change(folder, download__source="bucket", download__path=str(path), download__sha256=None, **changes)
    return run(folder, "stages.download", check=check)


def drawn(folder: Path, **changes) -> tuple[dict[str, bytes], dict[str, str]]:
    """Run `subsample`; what it drew by the files' names, and the reasons of what it skipped."""
    change(folder, **changes)
    run(folder, "stages.subsample")
    files = {
        photo.file: (folder / "data/photos" / photo.file).read_bytes()
        for photo in dataset.read_manifest(folder / "data/manifest.csv")
    }
    on_disk = {str(path.relative_to(folder / "data/photos")) for path in (folder / "data/photos").rglob("*") if path.is_file()}
    assert on_disk == set(files)
    with open(folder / "data/skipped.csv", newline="", encoding="utf-8") as file:
        return files, {row["file"]: row["reason"] for row in csv.DictReader(file)}


def note(folder: Path) -> dict:
    return json.loads((folder / "data/raw/source.json").read_text())


def test_a_bucket_and_the_same_folder_read_in_place_give_the_same_photos(folder, mine, server):
    said = bring(folder, "s3://ours/photos/")
    assert "skipped, outside class folders: 1 in the folder itself" in said and "left out: 1 .txt" in said
    assert "bucket: " in said and "by s3://ours/photos/: 53 ants, 53 bees" in said
    assert sorted(path.name for path in (folder / "data/raw").iterdir()) == ["photos.csv", "source.json"]
    held = note(folder)
    assert held["base"] == "s3://ours/photos/" and held["counts"] == {"ants": 53, "bees": 53}
    listed = list(listing.read(folder / "data/raw/photos.csv"))
    with open(folder / "data/raw/photos.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "class", "split", "size", "etag"] and len(rows) == len(listed) == 106
    assert [photo.key for photo in listed] == sorted(photo.key for photo in listed)
    of_bucket, skipped = drawn(folder)
    assert Counter(name.split("/")[0] for name in of_bucket) == {"train": 40, "validation": 12, "test": 12}

    bring(folder, mine)
    assert note(folder)["base"] == f"{mine}/"
    again, same = drawn(folder)
    assert again == of_bucket and same == skipped


def test_what_cannot_be_used_is_named_and_the_next_takes_its_place(folder, mine, server):
    """All photos are drawn, so that all bad ones are met: 53 bees hold 49 usable ones, and ants one that is a bee as well."""
    bring(folder, "s3://ours/photos", **SHARES)
    files, skipped = drawn(folder)
    assert Counter(name.split("/")[1] for name in files) == {"ants": 52, "bees": 49}
    either = {name: skipped.pop(name) for name in ("bees/copy.jpg", "bees/1.jpg") if name in skipped}
    assert set(either.values()) in ({"a copy: the same bytes as bees/1.jpg"}, {"a copy: the same bytes as bees/copy.jpg"})
    assert skipped.pop("ants/both.jpg") == "in two classes: the same bytes as bees/2.jpg"
    assert skipped.pop("bees/2.jpg") == "in two classes: the same bytes as ants/both.jpg"
    assert skipped == {"bees/broken.jpg": "can't be decoded: Truncated File Read", "bees/empty.jpg": "the file is empty"}
    before = files
    assert drawn(folder)[0] == before
    some, others = (set(drawn(folder, **SIZES, subsample__seed=seed)[0]) for seed in (1, 2))
    assert len(some) == len(others) == 64 and {Path(name).name for name in some} != {Path(name).name for name in others}
    change(folder, **SIZES | {"subsample__train": 38})
    said = run(folder, "stages.subsample", check=False).splitlines()[-1]
    assert "the class bees has 49 usable photos of 53; 38 + 6 + 6 = 50 are asked for" in said and "Skipped in all classes: " in said
    change(folder, subsample__train=50)
    said = run(folder, "stages.subsample", check=False).splitlines()[-1]
    assert "the list has 53 photos of the class ants; 50 + 6 + 6 = 62 are asked for" in said
    assert not (folder / "data/photos").exists()


def test_only_what_is_drawn_is_read_and_a_photo_that_changed_is_named(folder, server):
    client = s3.client(server)
    for key in "x", "y":
        for number in range(30):
            client.copy_object(
                Bucket="moving",
                Key=f"drawn/{key}/{number}.jpg",
                CopySource=f"ours/photos/{'ants' if key == 'x' else 'bees'}/{number + 5}.jpg",
            )
    bring(folder, "s3://moving/drawn", **{name: 4 for name in SIZES})
    first, skipped = drawn(folder)
    assert len(first) == 24 and not skipped
    drawn_keys = {photo.original for photo in dataset.read_manifest(folder / "data/manifest.csv")}
    gone, changed = sorted(key for key in drawn_keys if key.startswith("x"))[:2]
    client.delete_object(Bucket="moving", Key=f"drawn/{gone}")
    client.copy_object(Bucket="moving", Key=f"drawn/{changed}", CopySource="ours/photos/ants/45.jpg")
    for key in {f"{kind}/{number}.jpg" for kind in "xy" for number in range(30)} - drawn_keys:
        if key.startswith("y"):
            client.delete_object(Bucket="moving", Key=f"drawn/{key}")  # nobody asks for it
    second, skipped = drawn(folder)
    assert skipped == {gone: "No such file or directory", changed: places.CHANGED}
    assert len(second) == 24 and len({Path(name).name for name in first} & {Path(name).name for name in second}) == 22


def test_shares_are_of_what_the_list_has(folder, server):
    bring(folder, "s3://ours/photos", **dict(zip(SIZES, (0.2, 0.1, 0.1))))
    files, _ = drawn(folder)
    assert Counter(tuple(name.split("/")[:2]) for name in files) == Counter(
        {(split, kind): count for split, count in (("train", 11), ("validation", 5), ("test", 5)) for kind in ODD}
    )


def test_folds_of_a_list_validate_every_photo_once(folder, server):
    bring(folder, "s3://ours/photos", subsample__folds=3)
    parts = [
        {Path(name).name for name in drawn(folder, subsample__fold=fold)[0] if name.startswith("validation/")} for fold in (1, 2, 3)
    ]
    assert len(set().union(*parts)) == sum(map(len, parts)) == 52


def test_given_splits_and_lists(folder, mine, server, tmp_path):
    """A CSV file in the bucket, a Parquet file here: the same photos, in the splits that they say."""
    keys = [
        (kind, f"{number}.jpg", split)
        for kind in ODD
        for split, some in (("train", range(5, 15)), ("val", range(15, 20)), ("test", range(20, 25)))
        for number in some
    ]
    text = "class,uri,split\n" + "".join(f"{kind},photos/{kind}/{name},{split}\n" for kind, name, split in keys)
    s3.client(server).put_object(Bucket="ours", Key="list.csv", Body=text.encode())
    assert "Splits are those of the list: test, train, val as validation" in bring(folder, "s3://ours/list.csv")
    assert note(folder)["base"] == "s3://ours/" and note(folder)["splits"] == ["test", "train", "validation"]
    of_bucket, _ = drawn(folder)
    assert Counter(name.split("/")[0] for name in of_bucket) == {"train": 20, "validation": 10, "test": 10}

    table = {
        "path": [f"{kind}/{name}" for kind, name, _ in keys],
        "Class": [kind for kind, *_ in keys],
        "split": [split for *_, split in keys],
    }
    parquet.write_table(pyarrow.table(table), mine / "list.parquet")
    try:
        bring(folder, mine / "list.parquet")
        assert drawn(folder)[0] == of_bucket
    finally:
        (mine / "list.parquet").unlink()
    split = tmp_path / "split"
    for kind, name, of in keys:
        (split / of / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy2(mine / kind / name, split / of / kind)
    bring(folder, split)
    assert drawn(folder)[0] == of_bucket


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("file\nx/5.jpg\n", "no photo has a class; expected a column `class` beside `file`, `uri` or `path`."),
        ("file,class\na.jpg,cat\nb.jpg,\n", "b.jpg has no class."),
        ("file,class\na.jpg,cat\nb.jpg,cat\n", "holds one class (cat): at least two are needed"),
        ("file,class\na.jpg,cat\nb.jpg,dog\na.jpg,dog\n", "a.jpg is listed twice, as cat and as dog."),
        ("file,class,split\na.jpg,cat,train\na.jpg,cat,test\n", "a.jpg is listed twice, as cat and as cat in test."),
        (
            "file,class,split\na.jpg,cat,train\nb.jpg,dog,\n",
            "a photo has the split ''; expected train, validation, test for each, or none",
        ),
        ("file,class,split\na.jpg,cat,val\nb.jpg,dog,test\n", "no photo has the split train."),
        (
            "file,class,split\na.jpg,cat,train\nb.jpg,dog,train\nc.jpg,dog,test\n",
            "train and test don't have the classes in common: test has dog and lacks cat",
        ),
        ("file,class\na.jpg,../cat\nb.jpg,dog\n", "the class '../cat' can't be a folder's name: rename it."),
        ("picture,class\na.jpg,cat\n", "a row without a photo; expected a column `file`, `uri` or `path`"),
        ("file,class\n", "no picture in "),
    ],
)
def test_a_class_list_that_does_not_match_is_one_line(tmp_path, rows, said):
    (tmp_path / "list.csv").write_text(rows)
    with pytest.raises(UserError) as error:
        lists.bring(str(tmp_path / "list.csv"), tmp_path / "to").check()
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_a_bucket_refuses_is_one_line_and_nothing_half_written(folder, server, monkeypatch):
    for path, said in (
        ("s3://nobody/photos", "s3://nobody/photos: there is no such bucket."),
        ("s3://hollow", "no picture in s3://hollow"),
        ("s3://ours/nothing/", "no picture in s3://ours/nothing/"),
        ("s3://ours/photos/ants", "s3://ours/photos/ants holds one class (Ameisen & Käfer #1): at least two are needed"),
        ("s3://ours/no.csv", "s3://ours/no.csv: there is no such list."),
        ("s3://", "s3:// names no bucket: expected s3://bucket/prefix, or gs://."),
        ("s3://list.csv", "names no bucket"),
        ("azure://ours/photos", "azure://ours/photos is no folder: expected one, s3://bucket/prefix"),
        ("/nowhere", "download.path is /nowhere, and there is no such folder or file."),
    ):
        line = bring(folder, path, check=False).splitlines()[-1]
        assert said in line, line
        assert not any((folder / "data/raw").glob("*"))
    bring(folder, "s3://ours/photos")
    address, auth = server["AWS_ENDPOINT_URL"], "/moto-api/reset-auth"
    ask = {"timeout": 10, "proxies": {"http": ""}}
    requests.post(address + auth, data=b"0", **ask).raise_for_status()  # from here on everybody's rights are looked at
    try:
        line = run(folder, "stages.subsample", check=False).splitlines()[-1]
        assert re.match(
            r"subsample: s3://ours/photos/\S+: no right to do that \(.*\)\. Ask for it, or set other credentials", line
        ), line
        assert not (folder / "data/photos").exists() and not (folder / "data/manifest.csv").exists()
        line = bring(folder, "s3://ours/photos", check=False).splitlines()[-1]
        assert line.startswith("download: s3://ours/photos: no right to do that (")
    finally:
        requests.post(address + auth, data=b"inf", **ask)
    forget()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    line = bring(folder, "s3://ours/photos", check=False).splitlines()[-1]
    assert "download: s3://ours/photos: Could not connect to the endpoint URL" in line
    forget()


def fill(server: dict[str, str], photos: dict[str, list[bytes]], place: str, some: range) -> None:
    """Put some photos of each class into a bucket."""
    for kind, of_kind in photos.items():
        for number in some:
            s3.client(server).put_object(Bucket="moving", Key=f"{place}/{kind}/{number}.jpg", Body=of_kind[number])


FEW = ("subsample.train=4", "subsample.validation=2", "subsample.test=2")


def test_a_command_lists_again_and_another_takes_the_list_of_the_last_time(cut, server, photos, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(cut, tmp_path / "clone")
    said = run(folder, "tools.repro", "--photos", "s3://moving/grows", check=False)
    assert "no picture in s3://moving/grows" in said.splitlines()[-1] and not (folder / "data/raw").exists()
    fill(server, photos, "grows", range(20))
    said = run(folder, "tools.repro", "--photos", "s3://moving/grows", *FEW)
    assert "Photos from bucket: you asked for it." in said and "2 classes, 40 photos: cat 20, dog 20." in said
    assert "Drawn from them: 8 train, 4 validation, 4 test" in said and "Recipe light" in said
    assert stages_run(said) == ["download", "subsample"]
    first = settings(folder)["download"]
    assert first == {"source": "bucket", "path": "s3://moving/grows", "sha256": note(folder)["sha256"]}

    fill(server, photos, "grows", range(20, 22))
    monkeypatch.chdir(folder)
    found, wanted = repro.looked_at("bucket", first["path"], False, settings(folder))
    assert found.counts() == {"cat": 20, "dog": 20} and wanted == {}
    assert "The list of photos is that of the last time; PHOTOS=... lists them again." in capsys.readouterr().out
    assert plan.bytes_kept(found, settings(folder)) == found.size() * 16 / 40
    found, wanted = repro.looked_at("bucket", first["path"], True, settings(folder))
    assert found.counts() == {"cat": 22, "dog": 22} and wanted["download.sha256"] != first["sha256"]
    assert "are the source bucket" in run(folder, "tools.repro", "--source", "path", "--photos", "list.csv", check=False)
    assert "make check reads every photo of a folder or a zip" in run(folder, "tools.check", "s3://moving/grows", check=False)


@pytest.mark.slow  # five runs of DVC
def test_lists_of_a_team(cut, server, photos, tmp_path):
    folder, theirs = shutil.copytree(cut, tmp_path / "first"), tmp_path / "theirs"
    fill(server, photos, "team", range(20))
    run(folder, "tools.repro", "--photos", "s3://moving/team", *FEW)
    first = settings(folder)["download"]
    fill(server, photos, "team", range(20, 22))
    said = run(folder, "tools.repro", "subsample.seed=2")
    assert "that of the last time" in said and stages_run(said) == ["subsample"] and settings(folder)["download"] == first
    run(folder, "tools.clean")
    assert stages_run(run(folder, "tools.repro")) == [], "DVC's cache has the list"
    run(folder, "dvc", "remote", "add", "--default", "team", str(tmp_path / "remote"))
    run(folder, "dvc", "push", "--run-cache")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a bucket's photos")
    git(folder, "clone", "--quiet", str(folder), str(theirs))
    said = run(theirs, "tools.repro")
    assert "The list of photos is not on this machine" in said and stages_run(said) == [] and "No tracked file changed." in said
    said = run(folder, "tools.repro", "--source", "bucket")
    assert "cat 22, dog 22" in said and stages_run(said) == ["download", "subsample"]
    assert settings(folder)["download"]["sha256"] == note(folder)["sha256"] != first["sha256"]


def test_thirty_thousand_photos_are_listed_and_drawn_from_in_flat_memory(tmp_path, photos):
    """As a list of objects they would take 20 MB and more."""
    peaks = []
    for count in (2_000, 30_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "a.jpg").write_bytes(photos["cat"][0])
        with open(folder / "list.csv", "w") as file:
            file.write("file,class,size,etag\n")
            file.writelines(
                f"a photo with a name of some length {number:07}.jpg,{'ab'[number % 2]},1,x\n" for number in range(count)
            )
        code = f"""
import contextlib
from pathlib import Path
from littledata.core import stage
from littledata.core.progress import progress
from littledata.photos import lists
from littledata.splits import drawing
from littledata.photos import listing
found = lists.bring("{folder}/list.csv", Path("{folder}"))
assert found.counts() == dict(a={count} // 2, b={count} // 2)
skipped = []
with progress(None, "") as bar:
    drawing.draw(listing.read(Path("{folder}/photos.csv")), found.base, lambda number, photo: b"%07d" % (number % 1000),
                 dict(a=0, b=0), Path("{folder}/drawn"), skipped, bar)
print(stage.peak_memory_mb())
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] < peaks[0] + 10, peaks


def test_level_2_learns_from_all_photos_of_a_bucket(folder, lite_features, server):
    """Their averaged features, but for those of photos that were drawn to validate and to test."""
    bring(folder, "s3://ours/photos")
    light = {"backbone": "EfficientNetLite0", "image_size": 64, "finetune__unfreeze": ["block5a"], "activations__views": 1}
    files, skipped = drawn(folder, **light, top__listed=True, top__epochs=2, top__units=0)
    with open(folder / "data/listed.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 106 and all(row["file"].startswith(f"s3://ours/photos/{row['class']}/") for row in rows)
    (folder / "models").mkdir(exist_ok=True)
    shutil.copyfile(lite_features.parent / "lite.weights.h5", folder / "models/backbone.weights.h5")
    run(folder, "stages.activations")
    said = run(folder, "stages.bottleneck")
    assert "106 listed photos, 106 of them computed, 2 have no features" in said
    # Neither the empty one and the broken one, nor what was drawn and its copies.
    learnt = int(re.search(r"level 2 learns from (\d+) photos that were not drawn", said)[1])
    assert 106 - 2 - len(files) - 2 <= learnt <= 106 - 2 - len(files)
    assert "106 listed photos, 0 of them computed" in run(folder, "stages.bottleneck")  # another draw takes them from the store
    run(folder, "stages.top")
    plain = (folder / "models/top.keras").read_bytes()
    run(folder, "stages.top")
    assert (folder / "models/top.keras").read_bytes() == plain
    change(folder, top__listed=False)
    run(folder, "stages.top")
    assert (folder / "models/top.keras").read_bytes() != plain
