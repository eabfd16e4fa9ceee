"""Photos that stay where they are: in a bucket, in a folder that is read in place, or where a list says. Real stages, a real S3 server."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pyarrow
import pytest
import requests
from conftest import ROOT, run, settings, stages_run
from drawn import bring, draw, fill, listed, many, nothing_brought, one_line
from pyarrow import parquet

from littledata.core import files, paths
from littledata.photos import download, listing, places
from littledata.splits import dataset
from studies import s3
from tools import plan, repro

SIZES = {"train": 20, "validation": 6, "test": 6}
ODD = {"ants": "Ameisen & Käfer #1/100 % echt?.jpg", "bees": "a+b=c/IMG (1).JPG"}  # keys with what URLs quote


@pytest.fixture(scope="module")
def mine(photos, tmp_path_factory) -> Path:
    """50 photos a class, some with odd names, beside what buckets hold as well."""
    folder = tmp_path_factory.mktemp("mine") / "photos"
    for kind, of_kind in zip(ODD, photos.values()):
        fill(folder, f"{kind}/{ODD[kind]}", *many(kind, each=50)[1:], data=of_kind)
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
    places.store.cache_clear()


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder in which stages run."""
    (tmp_path / "project/data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def put(server: dict[str, str], place: str, kind: str, number: int) -> None:
    """Copy one of the bucket's photos to another place."""
    s3.client(server).copy_object(Bucket="moving", Key=place, CopySource=f"ours/photos/{kind}/{number}.jpg")


def put_some(server: dict[str, str], place: str, some: range) -> None:
    """Copy some photos of two classes, cat and dog."""
    for kind, number in product(zip(("cat", "dog"), ODD), some):
        put(server, f"{place}/{kind[0]}/{number}.jpg", kind[1], number + 5)


def test_a_bucket_and_the_same_folder_read_in_place_give_the_same_photos(project, mine, server, capsys):
    held = bring("s3://ours/photos/", "bucket")
    said = capsys.readouterr().out
    assert "skipped, outside class folders: 1 in the folder itself" in said and "left out: 1 .txt" in said
    assert "bucket: " in said and "by s3://ours/photos/: 53 ants, 53 bees" in said
    assert sorted(path.name for path in download.RAW.iterdir()) == ["photos.csv", "source.json"]
    assert held["base"] == "s3://ours/photos/" and held["counts"] == {"ants": 53, "bees": 53}
    assert held["digest"] == files.sha256_of(download.LIST)
    photos, rows = list(listing.read(download.LIST)), listed(download.LIST)
    assert list(rows[0]) == ["file", "class", "split", "size", "etag"] and len(rows) == len(photos) == 106
    assert [photo.key for photo in photos] == sorted(photo.key for photo in photos)
    of_bucket = draw(**SIZES)
    whole = listed(paths.LISTED)
    assert len(whole) == 106 and all(row["file"].startswith(f"s3://ours/photos/{row['class']}/") for row in whole)
    assert Counter(photo.split for photo in of_bucket[0]) == {"train": 40, "validation": 12, "test": 12}
    assert bring(mine, "bucket")["base"] == f"{mine}/"
    assert draw(**SIZES) == of_bucket


def test_what_cannot_be_used_is_named_and_the_next_takes_its_place(project, mine, server):
    """All photos are drawn, so that all bad ones are met: 53 bees hold 49 usable ones, and ants one that is a bee as well."""
    bring("s3://ours/photos", "bucket")
    manifest, skipped = draw()
    assert Counter(photo.kind for photo in manifest) == {"ants": 52, "bees": 49}
    either = {name: skipped.pop(name) for name in ("bees/copy.jpg", "bees/1.jpg") if name in skipped}
    assert set(either.values()) in ({"a copy: the same bytes as bees/1.jpg"}, {"a copy: the same bytes as bees/copy.jpg"})
    assert skipped.pop("ants/both.jpg") == "in two classes: the same bytes as bees/2.jpg"
    assert skipped.pop("bees/2.jpg") == "in two classes: the same bytes as ants/both.jpg"
    assert skipped == {"bees/broken.jpg": "can't be decoded: Truncated File Read", "bees/empty.jpg": "the file is empty"}
    assert draw()[0] == manifest
    some, others = ({photo.sha256 for photo in draw(**SIZES, seed=seed)[0]} for seed in (1, 2))
    assert len(some) == len(others) == 64 and some != others
    for train, said in (
        (38, "the class bees has 49 usable photos of 53; 38 .* 6 .* 6 = 50 are asked for.* Skipped in all classes: "),
        (50, "the list has 53 photos of the class ants; 50 .* 6 .* 6 = 62 are asked for"),
    ):
        with one_line(said):
            draw(**SIZES | {"train": train})
        assert not dataset.PHOTOS.exists()


def test_only_what_is_drawn_is_read_and_a_photo_that_changed_is_named(project, server):
    client, four = s3.client(server), dict.fromkeys(SIZES, 4)
    put_some(server, "drawn", range(30))
    bring("s3://moving/drawn", "bucket")
    first, skipped = draw(**four)
    assert len(first) == 24 and not skipped
    keys = {photo.original for photo in first}
    gone, changed = sorted(key for key in keys if key.startswith("cat"))[:2]
    client.delete_object(Bucket="moving", Key=f"drawn/{gone}")
    put(server, f"drawn/{changed}", "ants", 45)
    for key in {f"dog/{number}.jpg" for number in range(30)} - keys:
        client.delete_object(Bucket="moving", Key=f"drawn/{key}")  # nobody asks for it
    second, skipped = draw(**four)
    assert skipped == {gone: "No such file or directory", changed: places.CHANGED}
    assert len(second) == 24 and len({photo.sha256 for photo in first} & {photo.sha256 for photo in second}) == 22


def test_shares_are_of_what_the_list_has_and_parts_validate_every_photo_once(project, server):
    bring("s3://ours/photos", "bucket")
    manifest, _ = draw(train=0.2, validation=0.1, test=0.1)
    sizes = {"train": 11, "validation": 5, "test": 5}
    assert Counter((photo.split, photo.kind) for photo in manifest) == {
        (split, kind): sizes[split] for split in sizes for kind in ODD
    }
    parts = [[photo for photo in draw(**SIZES, parts=3, part=part)[0] if photo.split == "validation"] for part in (1, 2, 3)]
    assert len({photo.sha256 for part in parts for photo in part}) == sum(map(len, parts)) == 52


def test_given_splits_and_lists(project, mine, server, tmp_path, capsys):
    """A CSV file in the bucket, a Parquet file here: the same photos, in the splits that they say."""
    split_of = ["train"] * 10 + ["val"] * 5 + ["test"] * 5
    keys = [(kind, f"{number}.jpg", split) for kind in ODD for number, split in enumerate(split_of, 5)]
    text = "class,uri,split\n" + "".join(f"{kind},photos/{kind}/{name},{split}\n" for kind, name, split in keys)
    s3.client(server).put_object(Bucket="ours", Key="list.csv", Body=text.encode())
    held = bring("s3://ours/list.csv", "bucket")
    assert "Splits are those of the list: test, train, val as validation" in capsys.readouterr().out
    assert held["base"] == "s3://ours/" and held["splits"] == ["test", "train", "validation"]

    of_bucket = [photo.file for photo in draw()[0]]
    assert Counter(name.split("/")[0] for name in of_bucket) == {"train": 20, "validation": 10, "test": 10}
    table = [{"path": str(mine / kind / name), "Class": kind, "split": split} for kind, name, split in keys]
    parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "list.parquet")
    for kind, name, of in keys:
        (tmp_path / "split" / of / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy2(mine / kind / name, tmp_path / "split" / of / kind)
    for place in "list.parquet", "split":
        bring(tmp_path / place, "bucket")
        assert [photo.file for photo in draw()[0]] == of_bucket


def test_odd_keys_profiles_and_a_plain_endpoint(project, mine, server, tmp_path, monkeypatch):
    """Keys with several slashes and what addresses quote; credentials and the endpoint in ~/.aws."""
    keys = ["odd//cat//1.jpg", "odd//dog/3 +%2F?#&=ü.jpg", "odd//dog/~4\u2028.jpg"]
    for number, key in enumerate(keys):
        put(server, key, "ants", number + 5)
    (tmp_path / "config").write_text(f"[profile team]\nendpoint_url = {server['AWS_ENDPOINT_URL']}\nregion = us-east-1\n")
    (tmp_path / "keys").write_text("[team]\naws_access_key_id = somebody\naws_secret_access_key = secret\n")
    for name in s3.USER.keys() | {"AWS_ENDPOINT_URL"}:
        monkeypatch.delenv(name)
    for name, value in ("PROFILE", "team"), ("CONFIG_FILE", "config"), ("SHARED_CREDENTIALS_FILE", "keys"):
        monkeypatch.setenv(f"AWS_{name}", value if name == "PROFILE" else str(tmp_path / value))
    forget()
    photos = list(listing.Photos("s3://moving/odd"))
    assert [f"odd/{photo.key}" for photo in photos] == sorted(keys)
    for photo in photos:
        number = keys.index(f"odd/{photo.key}") + 5
        assert places.photo("s3://moving/odd/", photo) == (mine / f"ants/{number}.jpg").read_bytes()
    forget()


@pytest.mark.parametrize("source", ["path", "bucket"])
def test_a_listing_is_handed_over_whole_or_not_at_all(project, mine, monkeypatch, source):
    monkeypatch.setattr(listing, "FOLDER", project / ".cache/listing")
    assert listing.handed_over(source, mine) is None
    found = listing.of(source, mine)
    listing.hand_over(found)
    again = listing.handed_over(source, mine)
    assert list(again.photos) == list(found.photos) and listing.of(source, mine).sha256 == found.sha256
    for name in vars(found).keys() - {"photos"}:
        assert getattr(again, name) == getattr(found, name), name
    assert listing.handed_over(source, mine / "ants") is None
    late = mine / "ants/late.jpg"
    late.write_bytes((mine / "ants/7.jpg").read_bytes())
    try:
        assert listing.of(source, mine).sha256 != found.sha256
        assert bring(mine, source)["counts"] == found.counts(), "the stage lists nothing again"
        monkeypatch.delenv(listing.HANDED_OVER)
        assert bring(mine, source)["counts"]["ants"] == found.counts()["ants"] + 1, "nobody has handed it over to this run"
    finally:
        late.unlink()
    with open(listing.FOLDER / "photos.csv", "a") as file:
        file.write("x")
    assert listing.handed_over(source, mine) is None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("file\nx/5.jpg\n", "no photo has a class; expected a column `class` beside `file`, `uri` or `path`."),
        ("file,class\na.jpg,cat\nb.jpg,\n", "b.jpg has no class."),
        ("file,class\na.jpg,cat\nb.jpg,cat\n", "holds one class (cat): at least two are needed"),
        ("file,class\na.jpg,cat\nb.jpg,dog\na.jpg,dog\n", "a.jpg is listed twice, as cat and as dog."),
        ("file,class,split\na.jpg,cat,train\na.jpg,cat,test\n", "a.jpg is listed twice, as cat and as cat in test."),
        ("file,class,split\na.jpg,cat,train\nb.jpg,dog,\n", "split ''; expected train, validation, test for each, or none"),
        ("file,class,split\na.jpg,cat,val\nb.jpg,dog,test\n", "no photo has the split train."),
        ("file,class,split\na.jpg,a,train\nb.jpg,b,train\nc.jpg,b,test\n", "the classes in common: test has b and lacks a"),
        ("file,class\na.jpg,../cat\nb.jpg,dog\n", "the class '../cat' can't be a folder's name: rename it."),
        ("picture,class\na.jpg,cat\n", "a row without a photo; expected a column `file`, `uri` or `path`"),
        ("file,class\n", "no picture in "),
    ],
)
def test_a_class_list_that_does_not_match_is_one_line(tmp_path, rows, said):
    (tmp_path / "list.csv").write_text(rows)
    with one_line(re.escape(said)):
        listing.of("bucket", str(tmp_path / "list.csv")).check()


def test_what_a_bucket_refuses_is_one_line_and_nothing_half_written(project, server, monkeypatch):
    def refused(path: str, said: str) -> None:
        with one_line(said):
            bring(path, "bucket")
        assert nothing_brought()

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
        refused(path, re.escape(said))
    bring("s3://ours/photos", "bucket")
    address, auth = server["AWS_ENDPOINT_URL"], "/moto-api/reset-auth"
    ask = {"timeout": 10, "proxies": {"http": ""}}
    requests.post(address + auth, data=b"0", **ask).raise_for_status()  # from here on everybody's rights are looked at
    try:
        with one_line(r"^s3://ours/photos/\S+: no right to do that \(.*\)\. Ask for it, or set other credentials"):
            draw(**SIZES)
        assert not dataset.PHOTOS.exists() and not dataset.MANIFEST.exists()
        refused("s3://ours/photos", r"^s3://ours/photos: no right to do that \(")
    finally:
        requests.post(address + auth, data=b"inf", **ask)
    forget()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    refused("s3://ours/photos", "^s3://ours/photos: Could not connect to the endpoint URL")
    forget()


FEW = ("subsample.train=4", "subsample.validation=2", "subsample.test=2")


def test_a_command_lists_again_and_another_takes_the_list_of_the_last_time(cut, server, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(cut, tmp_path / "clone")
    said = run(folder, "tools.repro", "--photos", "s3://moving/grows", check=False)
    assert "no picture in s3://moving/grows" in said.splitlines()[-1] and not (folder / "data/raw").exists()
    put_some(server, "grows", range(20))
    said = run(folder, "tools.repro", "--photos", "s3://moving/grows", *FEW)
    assert "Photos from bucket: you asked for it." in said and "2 classes, 40 photos: cat 20, dog 20." in said
    assert "Drawn from them: 8 train, 4 validation, 4 test" in said and "Recipe light" in said
    assert stages_run(said) == ["download", "subsample"]
    first, noted = settings(folder)["download"], json.loads((folder / download.NOTE).read_text())["digest"]
    assert first == {"source": "bucket", "path": "s3://moving/grows", "sha256": noted}

    put_some(server, "grows", range(20, 22))
    monkeypatch.chdir(folder)
    found, given = repro.list_place("bucket", first["path"], False, settings(folder)), settings(folder)
    assert found.counts() == {"cat": 20, "dog": 20} and found.sha256 == first["sha256"]
    assert "The list of photos is that of the last time; PHOTOS=... lists them again." in capsys.readouterr().out
    assert plan.bytes_kept(found, given, plan.split(found, given["subsample"])) == pytest.approx(found.size * 16 / 40)
    found = repro.list_place("bucket", first["path"], True, given)
    assert found.counts() == {"cat": 22, "dog": 22} and found.sha256 != first["sha256"]
    assert "are the source bucket" in run(folder, "tools.repro", "--source", "path", "--photos", "list.csv", check=False)
    assert "make check reads every photo of a folder or a zip" in run(folder, "tools.check", "s3://moving/grows", check=False)


def test_many_photos_are_listed_drawn_from_and_cut_in_flat_memory(tmp_path):
    """As a list of objects they would take 20 MB and more."""
    code = """
import sys
from types import SimpleNamespace
from littledata.core import stage
from littledata.photos import listing
from littledata.splits import draw
place, count = sys.argv[1], int(sys.argv[2])
with open(place, "w") as file:
    file.write("file,class,size,etag\\n")
    file.writelines(f"a photo with a name of some length {n:07}.jpg,{'ab'[n % 2]},1,x\\n" for n in range(count))
found = listing.of("bucket", place)
listing.hand_over(found)
photos = listing.handed_over("bucket", place).photos
table = draw.ordered(photos, SimpleNamespace(order="random", seed=1))
assert found.counts() == {kind: sum(1 for _ in draw.of_class(table, kind)) for kind in "ab"}
assert sum(map(len, listing.cut(photos, 100))) == count
print(stage.peak_memory_mb())
"""
    peaks = []
    for count in ("2000", "30000"):
        words = [sys.executable, "-c", code, str(tmp_path / "list.csv"), count]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] < peaks[0] + 10, peaks
