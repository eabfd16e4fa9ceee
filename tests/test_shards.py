"""`predict --to`: more photos than lines are good for, shard by shard, from folders, lists and a bucket."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import requests
import s3fs
from conftest import ROOT, offline, own, run
from pyarrow import dataset, parquet

from littledata.core import environment
from littledata.photos import listing, places
from littledata.photos.photo import Photo
from littledata.predict import batch, predictions
from littledata.shards import work
from studies import s3

SHARD = 10


@pytest.fixture(scope="module")
def mine(photos, tmp_path_factory) -> Path:
    """A folder of 61 pictures, one of them broken, and a text."""
    folder = own(tmp_path_factory.mktemp("mine"), photos)
    (folder / "dog/broken.jpg").write_bytes(photos["dog"][30][:200])
    (folder / "notes.txt").write_text("nothing to see")
    return folder


def words(light: Path, source: object, target: object, shard: int = SHARD) -> list[str]:
    return ["littledata.predict.predict", str(source), "--to", str(target), "--model", str(light), "--shard", str(shard)]


def to(light: Path, source: object, target: object, *more: str, check: bool = True, shard: int = SHARD, **environment: str) -> str:
    return run(ROOT, *words(light, source, target, shard), *more, check=check, **environment)


def apart(light: Path, source: object, target: object, **environment: str) -> subprocess.CompletedProcess:
    """The same in a process of its own."""
    command = [sys.executable, "-m", *words(light, source, target)]
    return subprocess.run(command, cwd=ROOT, env=offline(**environment), capture_output=True, text=True)


def made(light: Path, photos: listing.Photos, folder: Path) -> dict[str, str | None]:
    """Make the shards of a listing; gives the reason of each photo that has no answer."""
    job = work.Job(predictions.FORMAT, "model", str(light), photos.base, str(folder), work.machine(predictions.FORMAT))
    for shard in listing.cut(photos, SHARD):
        work.make(job, work.Shard(shard))
    return {row["file"]: row["why_not"] for path in folder.glob("*.parquet") for row in parquet.read_table(path).to_pylist()}


def rows(folder: Path) -> list[dict]:
    return sorted(dataset.dataset(folder).to_table().to_pylist(), key=lambda row: row["file"])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def done(light, mine, tmp_path_factory) -> Path:
    """What a run that nothing disturbed has written of it."""
    target = tmp_path_factory.mktemp("done") / "predictions"
    printed = to(light, mine, target)
    assert "left out: 1 .txt" in printed and "predict: 61 of 61 photos" in printed
    assert re.search(rf"^61 photos in {target}, [\d.]+ a second, 1 have no answer: why_not says why$", printed, re.MULTILINE)
    return target


def test_files_hold_what_predict_says_and_why_it_does_not(light, mine, done):
    said = run(ROOT, "littledata.predict.predict", str(mine), "--model", str(light), "--format", "csv", check=False)
    lines = csv.DictReader(line for line in said.splitlines() if f"{mine}/" in line or "class" in line)
    expected = {row["file"].removeprefix(f"{mine}/"): row for row in lines if row["class"]}
    found = {row["file"]: row for row in rows(done)}
    assert list(next(iter(found.values()))) == ["file", "class", "probability_cat", "probability_dog", "why_not"]
    broken = found.pop("dog/broken.jpg")
    assert broken["class"] is None and broken["probability_dog"] is None and "can't be decoded" in broken["why_not"]
    assert sorted(found) == sorted(expected) and len(found) == 60 and not any(row["why_not"] for row in found.values())
    for name, row in found.items():
        assert row["class"] == expected[name]["class"]
        for kind in "cat", "dog":
            assert row[f"probability_{kind}"] == pytest.approx(float(expected[name][f"probability_{kind}"]), abs=1e-5)
    note = json.loads((done / batch.NOTE).read_text())
    assert note["finished"] and note["list"]["photos"] == 61 and note["model"] == work.files.sha256_of(light)


def test_a_row_depends_on_its_photo_alone(light, mine, done, tmp_path):
    """Whatever the number of threads and the neighbours in the shard; and with the same list so are the files."""
    assert not apart(light, mine, tmp_path / "three", OMP_NUM_THREADS="3").returncode
    assert content(tmp_path / "three") == content(done)
    to(light, mine, tmp_path / "large", shard=1000)
    assert len(list((tmp_path / "large").glob("*.parquet"))) == 1 and rows(tmp_path / "large") == rows(done)


KEYS = [Photo(f"{number % 20:02}/{number:06}.jpg", 1, "") for number in range(10_000)]


def shards(photos: list[Photo]) -> set[tuple[Photo, ...]]:
    return {tuple(shard) for shard in listing.cut(sorted(photos), 20)}


def test_shards_hold_every_photo_once_and_are_of_a_size():
    cut = list(listing.cut(sorted(KEYS), 20))
    assert [photo for shard in cut for photo in shard] == sorted(KEYS)
    sizes = [len(shard) for shard in cut]
    assert 18 < np.mean(sizes) < 24 and max(sizes) < 80 and min(sizes) >= 10
    for count in (0, 1, 3):
        assert [photo for shard in listing.cut(KEYS[:count], 100) for photo in shard] == KEYS[:count]
    assert all(len(shard) == 1 for shard in listing.cut(KEYS[:300], 1))
    assert len(list(listing.cut(sorted(KEYS)[:20], 20))) == 1


def test_some_photos_more_or_less_rewrite_few_shards():
    before = shards(KEYS)
    more = [*KEYS, *(Photo(f"07/{number:06}x.jpg", 1, "") for number in range(2_000, 4_000, 20))]  # 1 % in one folder
    fewer = [photo for photo in KEYS if not photo.key.startswith("07/0012")]
    for other in more, fewer, KEYS[1:], KEYS[:-1], [*KEYS, Photo("07/005007.jpgx", 1, "")]:
        assert len(other) != len(KEYS)
        changed = shards(other) - before
        touched = len(set(other) ^ set(KEYS))
        assert 1 <= len(changed) <= touched / 10 + 3, (len(changed), touched)
        assert len(before - shards(other)) <= touched / 10 + 3


def test_a_run_that_was_killed_goes_on_where_it_stopped(light, mine, done, tmp_path):
    target = tmp_path / "predictions"
    command = [sys.executable, "-m", *words(light, mine, target)]
    process = subprocess.Popen(command, cwd=ROOT, env=offline(), stdout=subprocess.DEVNULL)
    while len(list(target.glob("*.parquet"))) < 2:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_ino for path in target.glob("*.parquet")}
    assert 2 <= len(finished) < len(list(done.glob("*.parquet"))) and not json.loads((target / batch.NOTE).read_text())["finished"]
    (target / ".a shard.1.part").write_bytes(b"half of one")  # what may be left where it was killed while it wrote
    rest = 61 - sum(parquet.read_metadata(path).num_rows for path in finished)
    printed = to(light, mine, target)
    assert f"61 photos in {target}, {61 - rest} were there, " in printed
    assert all(path.stat().st_ino == before for path, before in finished.items())
    assert content(target) == content(done)
    assert f"61 photos in {target}, 61 were there\n" in to(light, mine, target)


def test_another_list_model_machine_or_folder_is_refused_in_one_line(light, mine, done, tmp_path):
    folder = shutil.copytree(mine, tmp_path / "mine")  # with the dates, so it is the same list
    target = shutil.copytree(done, tmp_path / "predictions")
    assert "61 were there" in to(light, folder, target)
    before = content(target)

    other = tmp_path / "other.onnx"
    other.write_bytes(light.read_bytes() + b"\x12\x00")  # an empty producer: the same network, another file
    assert re.search(r"has predictions of another classifier \(sha256 \w{12}\)", to(other, folder, target, check=False))
    assert "has shards of --shard 10, not 20. Name another" in to(light, folder, target, shard=20, check=False)
    (folder / "cat/0.jpg").rename(folder / "cat/zero.jpg")
    (folder / "cat/1.jpg").unlink()
    assert "another list of photos: 61 then, 60 now. Name another" in to(light, folder, target, check=False)
    shutil.copyfile(mine / "cat/1.jpg", folder / "cat/1.jpg")
    assert "another list of photos: some were changed. Name another" in to(light, folder, target, check=False)
    less = "AVX512_SKX X86_V4" if "X86_V4" in environment.instructions().split() else ""
    if less:  # NumPy leaves them out, as on a processor without them
        ended = apart(light, mine, target, NPY_DISABLE_CPU_FEATURES=less)
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1
        assert "was begun by another kind of machine: a processor without X86_V4" in ended.stderr
    assert content(target) == before
    printed = to(light, mine, mine, check=False)
    assert printed.splitlines()[-1].startswith(f"{mine} has other files, such as notes.txt: name an empty folder")
    assert not (mine / batch.NOTE).exists()


def test_where_photos_change_here_and_there_the_other_rows_are_copied(light, mine, done, tmp_path):
    """And the bytes are those of a fresh computation."""
    folder = shutil.copytree(mine, tmp_path / "mine")
    target = shutil.copytree(done, tmp_path / "predictions")
    for number in range(0, 30, 6):
        for kind in "cat", "dog":
            os.utime(folder / kind / f"{number}.jpg", (1, 1))
    (folder / "dog/broken.jpg").write_bytes((mine / "dog/1.jpg").read_bytes())
    (folder / "cat/7.jpg").unlink()
    printed = to(light, folder, target, "--update")
    assert "60 photos in" in printed and " 49 were there" in printed, printed  # ten that changed, and one that was broken, computed
    to(light, folder, tmp_path / "fresh")
    assert content(target) == content(tmp_path / "fresh")
    assert json.loads((target / batch.NOTE).read_text())["source"] == str(folder)
    index = json.loads((target / work.INDEX).read_text())
    for odd in ("no JSON", json.dumps(index | {"origin": "another"}), json.dumps(index | {"shards": [1]})):
        (target / work.INDEX).write_text(odd)  # then nothing is copied
        os.utime(folder / "cat/3.jpg", (1, len(odd)))
        assert 41 <= int(re.search(r", (\d+) were there", to(light, folder, target, "--update"))[1]) < 59


def test_a_mistake_is_one_line_and_leaves_nothing(light, mine, tmp_path):
    target, empty, text = tmp_path / "predictions", tmp_path / "empty", tmp_path / "list.csv"
    empty.mkdir()
    text.write_text("picture,class\na.jpg,cat\n")
    for source, expected in (
        (tmp_path / "nowhere", "nowhere is no folder: expected one, s3://bucket/prefix, or a list"),
        (empty, f"no picture in {empty}"),
        (text, "a row without a photo; expected a column `file`, `uri` or `path`, found the columns picture, class"),
        (tmp_path / "none.parquet", "none.parquet can't be read: No such file or directory"),
        (ROOT / "README.md", "is no folder"),
    ):
        assert expected in to(light, source, target, check=False).splitlines()[-1]
    (tmp_path / "no.parquet").write_text("no")
    assert "no.parquet can't be read as a list: " in to(light, tmp_path / "no.parquet", target, check=False).splitlines()[-1]
    assert "is no classifier that this project" in to(text, mine, target, check=False)
    assert "ENGINE is 'dask'; expected ray, or nothing" in to(light, mine, target, check=False, ENGINE="dask")
    assert "name a folder or s3:// address by --to" in run(
        ROOT, "littledata.predict.predict", "s3://bucket/a", "--model", str(light), check=False
    )
    assert not target.exists()
    assert f"{text} is a file: name a folder." in to(light, mine, text, check=False)


def test_without_ray_or_pyarrow_a_line_says_how_to_get_it(light, mine, tmp_path):
    for package, how in ("ray", "requirements/ray.txt"), ("pyarrow", "requirements/run.txt"):
        (tmp_path / package).mkdir()
        (tmp_path / package / f"{package}.py").write_text("raise ImportError")  # as where it isn't installed
        ended = apart(light, mine, tmp_path / "to", PYTHONPATH=str(tmp_path / package), ENGINE="ray")
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1 and how in ended.stderr, ended.stderr
        assert not (tmp_path / "to").exists()


def test_a_list_may_be_csv_or_parquet_and_names_photos_beside_it(light, mine, tmp_path):
    names = ["cat/3.jpg", str(mine / "cat/4.jpg"), "dog/broken.jpg", "gone.jpg", "cat/3.jpg"]
    lists = mine / "list.csv", mine / "list.parquet"
    try:
        with open(lists[0], "w", newline="") as file:
            csv.writer(file).writerows([["class", "file"], *(["cat", name] for name in names)])
        parquet.write_table(pyarrow.table({"URI": names}), lists[1])
        for source in lists:
            to(light, source, tmp_path / source.suffix)
            found = rows(tmp_path / source.suffix)
            assert [row["file"] for row in found] == sorted(set(names))
            assert [row["why_not"] for row in found if row["file"] == "gone.jpg"] == ["No such file or directory"]
            assert sum(row["class"] is not None for row in found) == 2
        assert rows(tmp_path / ".csv") == rows(tmp_path / ".parquet")
    finally:
        for source in lists:
            source.unlink(missing_ok=True)


def test_a_photo_that_changed_since_it_was_listed_is_a_row_that_says_so(light, mine, tmp_path):
    folder = shutil.copytree(mine, tmp_path / "mine")
    with listing.Photos(str(folder)) as found:
        (folder / "cat/5.jpg").write_bytes((folder / "cat/6.jpg").read_bytes())
        (folder / "cat/7.jpg").unlink()
        why = made(light, found, tmp_path)
    assert [why[f"cat/{n}.jpg"] for n in (5, 6, 7)] == [places.CHANGED, None, "No such file or directory"]


def test_names_may_be_any_bytes(light, mine, photos, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in b"\xff\xfe.jpg", "hündchen, eins.jpg".encode(), b"line\nbreak.jpg":
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(photos["dog"][0])
    to(light, folder, tmp_path / "predictions")
    found = rows(tmp_path / "predictions")
    assert [row["file"] for row in found] == ["\\xff\\xfe.jpg", "hündchen, eins.jpg", "line\nbreak.jpg"]
    assert len({row["probability_dog"] for row in found}) == 1


@pytest.fixture(scope="module")
def server(mine) -> Iterator[dict[str, str]]:
    """A bucket with the folder's files below photos/; gives the environment of whoever reads it."""
    with s3.server("team", "other") as env:
        with asking(env) as fs:
            for path in mine.rglob("*.*"):
                fs.pipe_file(f"team/photos/{path.relative_to(mine)}", path.read_bytes())
            fs.pipe_file("team/photos2/other.jpg", b"of another prefix")
        yield env


@contextlib.contextmanager
def asking(env: dict[str, str]) -> Iterator[s3fs.S3FileSystem]:
    """A client of its own, whatever this process has asked for before."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        places.store.cache_clear()
        yield s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    places.store.cache_clear()


def fetch(env: dict[str, str], url: str, folder: Path) -> Path:
    with asking(env) as fs:
        fs.get(url, str(folder), recursive=True)
    return folder


def test_from_a_bucket_to_a_bucket_are_the_rows_of_the_folder(light, server, done, tmp_path):
    with asking(server) as fs:
        fs.pipe_file("other/of/photos/further/below.parquet", b"somebody else's")
    printed = to(light, "s3://team/photos", "s3://other/of/photos", **server)
    assert "left out: 1 .txt" in printed and "61 photos in s3://other/of/photos, " in printed
    found = fetch(server, "s3://other/of/photos", tmp_path / "found")
    assert (found / "further/below.parquet").read_bytes() == b"somebody else's"
    shutil.rmtree(found / "further")
    assert rows(found) == rows(done) and len(content(found)) == len(content(done))
    assert ", 61 were there\n" in to(light, "s3://team/photos/", "s3://other/of/photos", **server)
    to(light, "s3://team/photos", tmp_path / "here", **server)
    assert content(tmp_path / "here") == content(found)


def test_an_object_is_read_as_it_was_listed(light, server, mine, tmp_path):
    with asking(server) as fs:
        for number in range(4):
            fs.pipe_file(f"other/changing/{number}.jpg", (mine / f"cat/{number}.jpg").read_bytes())
        with listing.Photos("s3://other/changing") as found:
            fs.pipe_file("other/changing/1.jpg", (mine / "cat/20.jpg").read_bytes())
            fs.rm("other/changing/2.jpg")
            why = made(light, found, tmp_path)
        assert why == {"0.jpg": None, "1.jpg": places.CHANGED, "2.jpg": "No such file or directory", "3.jpg": None}
        # A list in the bucket, with an etag that isn't the object's any more, and without.
        etag = fs.info("other/changing/1.jpg")["ETag"]
        lines = "uri,etag", "changing/0.jpg,old", f's3://other/changing/1.jpg,"{etag[1:-1]}"', "changing/3.jpg,"
        fs.pipe_file("other/list.csv", "\n".join(lines).encode())
    to(light, "s3://other/list.csv", tmp_path / "listed", **server)
    assert [(row["file"], row["why_not"]) for row in rows(tmp_path / "listed")] == [
        ("changing/0.jpg", places.CHANGED), ("changing/3.jpg", None), ("s3://other/changing/1.jpg", None)
    ]  # fmt: skip


def test_what_a_bucket_refuses_is_one_line(light, server, mine, tmp_path):
    target = tmp_path / "predictions"
    for source, where, said in (
        ("s3://nobody", target, "s3://nobody: there is no such bucket."),
        ("s3://team/nothing", target, "no picture in s3://team/nothing"),
        (mine, "s3://nobody/x", "s3://nobody/x: there is no such bucket."),
        ("s3://team/no.csv", target, "s3://team/no.csv: there is no such list."),
    ):
        assert said in to(light, source, where, check=False, **server)
    address, auth = server["AWS_ENDPOINT_URL"], "/moto-api/reset-auth"
    ask = {"timeout": 10, "proxies": {"http": ""}}
    requests.post(address + auth, data=b"0", **ask).raise_for_status()  # from here on everybody's rights are looked at
    try:
        for source, where in (("s3://team/photos", target), (str(mine), "s3://team/predictions")):
            last = to(light, source, where, check=False, **server).splitlines()[-1]
            assert re.match(r"s3://team/\w+: no right to do that \(.*\)\. Ask for it, or set other credentials", last), last
    finally:
        requests.post(address + auth, data=b"inf", **ask)
    assert not target.exists()
