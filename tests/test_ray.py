"""`predict --to` on a Ray cluster of two nodes and an S3 server, all real and on this machine: `make test-ray`.

The nodes are processes of their own, each where the system allows in a mount namespace in which the project's folder is empty.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, jpeg, offline
from PIL import Image

from littledata.core import environment
from littledata.predict import batch
from studies import s3

pytest.importorskip("ray", reason="make test-ray brings Ray")
s3fs = pytest.importorskip("s3fs")

from studies import cluster as clusters  # noqa: E402

pytestmark = pytest.mark.ray
SHARD = 10
SECONDS = 120  # for what takes some
NOTE = batch.NOTE


@pytest.fixture(scope="module")
def server(cifar10) -> Iterator[dict[str, str]]:
    """400 photos below s3://photos, and s3://out, which keeps every version of what is written; gives a client's environment."""
    with s3.server("photos", "out") as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        fs = s3fs.S3FileSystem(use_listings_cache=False)
        photos = {"photos/dog/100.jpg": b"broken"}
        with zipfile.ZipFile(cifar10) as archive:
            for kind in "cat", "dog":
                for number, name in enumerate([name for name in archive.namelist() if name.startswith(kind)][:200]):
                    with Image.open(io.BytesIO(archive.read(name))) as photo:
                        photos.setdefault(f"photos/{kind}/{number:03}.jpg", jpeg(photo.resize((256, 256))))
        fs.pipe(photos)
        fs.call_s3("put_bucket_versioning", Bucket="out", VersioningConfiguration={"Status": "Enabled"})
        yield env


def versions(name: str) -> dict[str, list[bytes]]:
    """The files of a run, each with all that was ever written under its name."""
    fs = s3fs.S3FileSystem(use_listings_cache=False)
    found: dict[str, list[bytes]] = {}
    for version in fs.call_s3("list_object_versions", Bucket="out", Prefix=f"{name}/").get("Versions", ()):
        key, number = version["Key"], version["VersionId"]
        found.setdefault(key.removeprefix(f"{name}/"), []).append(fs.cat_file(f"out/{key}", version_id=number))
    return found


def parts(name: str) -> set[str]:
    fs = s3fs.S3FileSystem(use_listings_cache=False)
    listed = fs.call_s3("list_objects_v2", Bucket="out", Prefix=f"{name}/").get("Contents", ())
    return {found["Key"] for found in listed if found["Key"].endswith(".parquet")}


@pytest.fixture(scope="module")
def expected(server, light) -> dict[str, list[bytes]]:
    """What this machine alone writes, without Ray."""
    ended(start(light, "alone"))
    found = versions("alone")
    assert len(found) > 20 and all(len(written) == 1 for name, written in found.items() if name != NOTE)
    return found


@pytest.fixture(scope="module")
def cluster(server, expected) -> Iterator[clusters.Cluster]:
    with clusters.local(2, **server) as running:
        yield running
        begun = running.processes()
    assert not [process for process in begun if process.is_running()] and not running.processes()


def start(light: Path, name: str, source: str = "s3://photos", to: str = "s3://out/{}", **environment: str) -> subprocess.Popen:
    """A command that writes to s3://out/name, as a process of its own."""
    words = ["littledata.predict.predict", source, "--to", to.format(name), "--model", str(light), "--shard", str(SHARD)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, env=offline(**environment), **streams)


def ended(driver: subprocess.Popen, status: int = 0) -> str:
    """What a driver that has come to its end has printed."""
    try:
        printed, _ = driver.communicate(timeout=SECONDS)
    finally:
        driver.kill()
    assert driver.returncode == status and "Traceback" not in printed, printed
    return printed


def wait(until: Callable[[], object], driver: subprocess.Popen | None = None) -> object:
    end = time.monotonic() + SECONDS
    while not (found := until()):
        assert time.monotonic() < end and (driver is None or driver.poll() is None), driver and driver.stdout.read()
        time.sleep(0.02)
    return found


def at_work(cluster: clusters.Cluster) -> list[psutil.Process]:
    """The processes that make shards."""
    found = []
    for process in cluster.processes():
        with contextlib.suppress(psutil.Error, IndexError):
            found += [process] if re.match(r"ray::(\w+\.)*make\b", process.cmdline()[0]) else []
    return found


def once(name: str, expected: dict[str, list[bytes]]) -> None:
    """Every shard is there, the same to the byte, and was written once."""
    found = versions(name)
    newest = found[NOTE][0], expected[NOTE][0]
    assert newest[0] == newest[1] and found | {NOTE: []} == expected | {NOTE: []}


def test_two_nodes_that_do_not_see_the_project_write_the_same_bytes(cluster, server, light, expected):
    driver = start(light, "two", **cluster.driver)
    workers = wait(lambda: len(found := at_work(cluster)) == 2 and found, driver)
    if cluster.hidden:
        there = {name for worker in workers for name in os.listdir(f"/proc/{worker.pid}/root{clusters.ROOT}")}
        assert there <= {".venv"}
    assert {worker.environ()["OMP_NUM_THREADS"] for worker in workers} == {"1"}
    printed = ended(driver)
    assert re.search(r"^400 photos in s3://out/two, [\d.]+ a second, 1 have no answer", printed, re.MULTILINE)
    once("two", expected)
    open_ports = [port for process in cluster.processes() for port in process.net_connections("tcp") if port.status == "LISTEN"]
    assert {port.laddr.ip.removeprefix("::ffff:") for port in open_ports} == {"127.0.0.1"}


def test_a_worker_that_is_killed_is_begun_again(cluster, server, light, expected):
    driver = start(light, "worker", **cluster.driver)
    wait(lambda: len(parts("worker")) >= 2, driver)
    wait(lambda: at_work(cluster), driver)[0].kill()
    ended(driver)
    once("worker", expected)


def test_a_driver_that_is_killed_leaves_nobody_at_work_and_its_next_run_goes_on(cluster, server, light, expected):
    driver = start(light, "driver", **cluster.driver)
    wait(lambda: len(parts("driver")) >= 3, driver)
    driver.kill()
    driver.communicate()
    wait(lambda: not at_work(cluster))
    before = parts("driver")
    assert len(before) < len(expected) - 1
    printed = ended(start(light, "driver", **cluster.driver))
    assert re.search(r"^400 photos in s3://out/driver, \d+ were there, ", printed, re.MULTILINE)
    once("driver", expected)


HOLD = """
import sys, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
ray.get(ray.util.placement_group([{"CPU": 1}] * 2).ready())
print("taken", flush=True)
sys.stdin.read()
"""


def test_where_others_have_all_cpus_it_waits_and_then_goes_on(cluster, server, light, expected):
    env = offline(**cluster.driver)
    holder = subprocess.Popen([sys.executable, "-c", HOLD], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "taken\n"
        driver = start(light, "waiting", **cluster.driver)
        wait(lambda: NOTE in versions("waiting"), driver)
        time.sleep(3)
        assert driver.poll() is None and not parts("waiting")
    finally:
        holder.communicate("")
    ended(driver)
    once("waiting", expected)


def test_what_is_no_cluster_is_one_line(server, light, cluster, tmp_path):
    nobody = f"127.0.0.1:{clusters.free_port()}"
    for address, said in (
        (nobody, f"No Ray cluster at {nobody}: Connection refused. Start one, or set RAY_ADDRESS."),
        ("ray://127.0.0.1:10001", "RAY_ADDRESS is 'ray://127.0.0.1:10001'; expected host:port"),
    ):
        last = ended(start(light, "none", **cluster.driver | {"RAY_ADDRESS": address}), 1).splitlines()
        assert len(last) == 1 and last[0].startswith(said), last
    assert not versions("none")


FILL = """\
import sys
from pathlib import Path
from littledata.photos import listing, places
from littledata.shards import store
store.SIZE = 20
bucket = places.Bucket("s3://photos")
photos = [photo._replace(key=f"s3://photos/{photo.key}") for photo in bucket.objects()]
folder = Path(sys.argv[2])
with open(folder.with_suffix(".csv"), "wb") as file:
    listing.write(file, photos)
list(store.fill(Path(sys.argv[1]).read_bytes(), folder.with_suffix(".csv"), folder))
"""


def test_averaged_features_are_the_same_with_and_without_it(cluster, server, lite_features, tmp_path):
    where = {"here": {"SHARDS": str(tmp_path / "store")}, "there": cluster.driver | {"SHARDS": "s3://out/features"}}
    for name, variables in where.items():
        words = [sys.executable, "-c", FILL, str(lite_features), str(tmp_path / name)]
        done = subprocess.run(words, cwd=ROOT, env=offline(**variables), capture_output=True, text=True)
        assert "400 listed photos, 400 of them computed, 1 have no features\n" in done.stdout, done.stderr
    here, there = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in where)
    assert len(here) > 10 and here == there and len(versions("features")) == len(here) + 1


def test_photos_that_a_node_does_not_have_are_one_line_and_no_rows(server, light, cluster, tmp_path):
    if not cluster.hidden:
        pytest.skip("takes nodes that don't see the project's folder")
    printed = ended(start(light, "", str(clusters.ROOT / "metrics"), str(tmp_path / "to"), **cluster.driver), 1)
    assert re.search(
        rf"^\S+ has no folder {clusters.ROOT}/metrics/: use one that all nodes share, or a bucket\.$", printed, re.MULTILINE
    )
    assert not list((tmp_path / "to").glob("*.parquet"))


def test_a_node_that_dies_leaves_its_shards_to_the_other(cluster, server, light, expected):
    driver = start(light, "node", **cluster.driver)
    wait(lambda: len(parts("node")) >= 2, driver)
    cluster.kill(cluster.nodes[1])
    assert "400 photos in s3://out/node" in ended(driver)
    once("node", expected)
    assert "400 photos in s3://out/one" in ended(start(light, "one", **cluster.driver))  # by the one that is left
    once("one", expected)


def test_a_node_of_another_kind_is_refused_in_one_line(cluster, server, light):
    less = [name for name in ("X86_V4", "X86_V3") if name in environment.instructions().split()]
    if not less:
        pytest.skip("NumPy knows no instruction set here that it could leave out")
    cluster.start(1, NPY_DISABLE_CPU_FEATURES=" ".join(less))
    printed = ended(start(light, "kind", **cluster.driver), 1)
    assert len(printed.splitlines()) == 1
    differs = f"a processor with(out)? {', '.join(sorted(less))}"
    assert re.match(f"Of the cluster's nodes .* is of another kind than .*: {differs}", printed), printed
    assert not versions("kind")
