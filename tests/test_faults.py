"""What machines do to a run: no rights, no room, signals, settings of others. It ends with one true line, or goes on."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import psutil
import pytest
from conftest import PLANTED, ROOT, change, clone, copied, git, offline, own, run, settings, stages_run

from littledata.core import environment, errors, files, lockfile, stage, tables
from littledata.features import memo
from littledata.photos import sources
from littledata.splits import dataset
from tools import repro

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace makes system calls fail")


def without_rights() -> list[str]:
    """What a command begins with, so that a file's mode counts for root as well."""
    if os.getuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may read everything, and nothing here takes that away")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def python(folder: Path, *words: str, before: tuple | list = (), **environment: str) -> tuple[int, list[str]]:
    """A module's exit status and lines, in a process of its own, without a network."""
    command = [*before, sys.executable, "-m", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=folder, env=offline(**environment), text=True, timeout=120, **streams)
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def mine(photos, tmp_path_factory) -> Path:
    """A folder of 30 photos a class."""
    return own(tmp_path_factory.mktemp("mine"), photos)


@pytest.fixture
def another(pipeline, tmp_path) -> Path:
    """A pipeline of the test's own, in which everything has run."""
    return copied(pipeline, tmp_path / "copy")


@pytest.fixture
def folder(tmp_path, mine) -> Path:
    """A clone whose photos are that folder's."""
    clone(tmp_path / "clone")
    change(tmp_path / "clone", download__source="path", download__path=str(mine))
    return tmp_path / "clone"


# Signals, and DVC's end

SLOW = """\
from littledata.core import process
process.begin("slow", __name__)
import os, pathlib, signal, time
from concurrent.futures import ThreadPoolExecutor
from littledata.core import stage

def main(params):
    pathlib.Path("pid").write_text(str(os.getpid()))
    if os.environ.get("STUCK"):
        with ThreadPoolExecutor(1) as pool:  # whose end waits for its work's
            pool.submit(time.sleep, 60).result()
    try:
        time.sleep(60)
    finally:
        pathlib.Path("tidied").touch()

if os.environ.get("IMPORTS"):  # as TensorFlow does, for seconds
    pathlib.Path("pid").write_text(str(os.getpid()))
    time.sleep(60)
signal.signal(signal.SIGWINCH, lambda *_: None)
stage.run("slow", main)
"""


@pytest.fixture
def slow(tmp_path) -> Path:
    """A clone whose DAG is one stage that takes a minute."""
    clone(tmp_path)
    (tmp_path / "stages/slow.py").write_text(SLOW)
    (tmp_path / "dvc.yaml").write_text("stages:\n  slow:\n    cmd: python -m stages.slow\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "slow")
    return tmp_path


def started(folder: Path, *words: str, **environment: str) -> subprocess.Popen:
    """A module in a process of its own, which is not waited for."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, "-m", *words], cwd=folder, env=offline(**environment), text=True, **streams)


def begun(process: subprocess.Popen | None, folder: Path) -> psutil.Process:
    """The stage's process, once it is at work."""
    for _ in range(600):
        with contextlib.suppress(OSError, ValueError):
            return psutil.Process(int((folder / "pid").read_text()))
        assert not process or process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    raise AssertionError("the stage did not begin")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("what", ["", "STUCK", "IMPORTS"])
def test_a_signal_ends_a_stage_within_5_seconds_with_one_line(slow, number, what):
    with started(slow, "stages.slow", **{what or "PLAIN": "1"}) as process:
        begun(process, slow)
        time.sleep(0.3)
        start = time.monotonic()
        process.send_signal(number)
        said = process.communicate(timeout=10)[0]
        assert time.monotonic() - start < 5
    assert process.returncode == 1 and said == "slow: stopped.\n"
    assert (slow / "tidied").exists() == (not what)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(("shell", "more", "what"), [("sh", "", ""), ("bash", " && true", "STUCK"), ("sh", "", "IMPORTS")])
def test_a_stage_whose_dvc_has_ended_ends_within_5_seconds_and_touches_nothing(slow, number, shell, more, what):
    """With `&& true` the shell that DVC starts stays between."""
    (slow / "dvc.yaml").write_text(f"stages:\n  slow:\n    cmd: python -m stages.slow{more}\n")
    with started(slow, "dvc", "repro", SHELL=shutil.which(shell), **{what or "PLAIN": "1"}) as process:
        at_work = begun(process, slow)
        process.send_signal(number)
        start = time.monotonic()
        assert at_work.wait(timeout=10) in (1, None) and time.monotonic() - start < 5
        said = process.communicate(timeout=10)[0]
    assert "slow: DVC, which started this, has ended: stopped. The same command goes on.\n" in said
    assert not (slow / "tidied").exists(), "what it would tidy up may be the next run's"


def test_a_stage_that_lost_its_dvc_before_it_looked_does_not_begin(slow):
    """Whoever started it has ended at once, and a process of another session has adopted it."""
    (slow / "said").touch()
    words = f"{sys.executable} -m stages.slow > said 2>&1 &"
    subprocess.run(["sh", "-c", words], cwd=slow, env=offline(DVC_STAGE="slow"), check=True, start_new_session=True)
    for _ in range(600):
        if (said := (slow / "said").read_text()).endswith("\n"):
            break
        time.sleep(0.1)
    assert said == "slow: DVC, which started this, has ended: stopped. The same command goes on.\n"
    assert not (slow / "pid").exists()


def test_a_stage_by_hand_outlives_its_shell(slow):
    words = f"nohup {sys.executable} -m stages.slow > said 2>&1 &"
    subprocess.run(["sh", "-c", words], cwd=slow, env=offline(), check=True, start_new_session=True)
    at_work = begun(None, slow)
    at_work.send_signal(signal.SIGWINCH)  # of which it takes notice
    time.sleep(4)
    assert at_work.is_running() and at_work.status() != psutil.STATUS_ZOMBIE
    at_work.terminate()


# No rights, and files that are none


@pytest.mark.parametrize(
    ("name", "mode", "line"),
    [
        ("mine/dog", 0, "no photo of the class dog can be used (1 a folder that can't be read)"),
        ("mine", 0, "can't be read: Permission denied"),
        ("clone/data", 0o555, "download: data/raw: Permission denied. Make it accessible"),
    ],
)
def test_a_folder_without_rights_is_one_line(folder, mine, name, mode, line):
    path = {"mine": mine, "clone": folder}[name.partition("/")[0]] / name.partition("/")[2]
    path.chmod(mode)
    status, said = python(folder, "stages.download", before=without_rights())
    path.chmod(0o755)
    assert status == 1 and line in said[-1] and len(said) <= (1 if mode else 2)
    assert not list((folder / "data/raw").glob("*"))


@pytest.mark.slow
def test_make_repro_goes_on_without_what_it_cannot_read(cut, mine):
    (mine / "cat/0.jpg").chmod(0)
    status, said = python(cut, "tools.repro", "--photos", str(mine), before=without_rights(), HOME=str(mine.parent))
    assert "cat/0.jpg,can't be read: no permission" in (cut / "data/skipped.csv").read_text()
    assert "Photos from path: you asked for it." in said and status == 0


def test_predict_names_what_it_cannot_read_and_goes_on(light, mine):
    (mine / "cat/0.jpg").chmod(0)
    for name, mode in (("locked", 0), ("listed", 0o444)):
        (mine / name).mkdir()
        shutil.copy(mine / "cat/1.jpg", mine / name / "1.jpg")
        (mine / name).chmod(mode)
    (mine / "round.jpg").symlink_to("round.jpg")
    (mine / "round").symlink_to("round")
    (mine / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(mine / "pipe.jpg")
    status, said = python(ROOT, "littledata.predict.predict", str(mine), "--model", str(light), before=without_rights())
    for name in ("locked", "listed"):
        (mine / name).chmod(0o755)
    denied, nothing, loop = "Permission denied", "No such file or directory", "Too many levels of symbolic links"
    why = {"cat/0.jpg": denied, "locked": denied, "listed/1.jpg": denied, "gone.jpg": nothing, "round": loop, "round.jpg": loop}
    assert status == 1 and {f"{mine}/{name}: {reason}" for name, reason in why.items()} <= set(said)
    assert "left out: 1 a pipe, a socket or a device" in said
    assert re.fullmatch(r"65 pictures, .* a second, 6 could not be read", said[-1])


def test_damaged_entries_of_kaggles_archive_are_lines(light, photos, tmp_path):
    path = tmp_path / "test1.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(1, 6):
            archive.writestr(f"test1/{number}.jpg", photos["dog"][number])
        places = [entry.header_offset for entry in archive.infolist()]
    data = bytearray(path.read_bytes())
    data[places[0] + 300] ^= 255  # of its deflated bytes
    data[places[1] + 2] ^= 255  # of its signature
    data[data.rindex(b"test1/3.jpg") - 46 + 10] = 99  # its method
    data[data.rindex(b"test1/4.jpg") - 46 + 16] ^= 255  # its checksum
    path.write_bytes(data)
    out = tmp_path / "submission.csv"
    status, said = python(ROOT, "littledata.predict.submit", str(path), "--model", str(light), "--out", str(out))
    assert status == 0, said
    for number in range(1, 5):
        assert any(line.startswith(f"test1/{number}.jpg: damaged in the archive: ") for line in said), said
    assert [line.split(",")[1] == "0.500000" for line in out.read_text().splitlines()[1:]] == [True] * 4 + [False]
    assert said[-1].endswith("4 could not be read")


@pytest.mark.skipif(os.getuid() != 0, reason="gives a folder to another user")
def test_gits_dubious_ownership_is_called_that(tmp_path):
    folder = tmp_path / "of somebody else"
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "commit", "-qm", "empty", "--allow-empty")
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 65534, 65534)
    status, said = python(folder, "tools.repro", PYTHONPATH=str(ROOT))
    assert status == 1 and said == [
        "this folder belongs to another user (a container, sudo?), so Git leaves it alone. "
        f"To allow it: git config --global --add safe.directory '{folder}'"
    ]
    status, said = python(folder, "tools.back", PYTHONPATH=str(ROOT))
    assert status == 1 and len(said) == 1 and "dubious ownership" in said[0]


def test_an_archive_that_may_not_be_read_is_not_called_damaged(folder, train_zip, tmp_path):
    shutil.copy(train_zip, tmp_path / "train.zip")
    (tmp_path / "train.zip").chmod(0)
    os.mkfifo(tmp_path / "pipe.zip")
    change(folder, download__source="kaggle")
    for name, why in (("train.zip", "can't be read: Permission denied."), ("pipe.zip", "is not a file: expected a zip archive.")):
        given = {"DOGS_VS_CATS_ARCHIVE": str(tmp_path / name)}
        assert python(folder, "stages.download", before=without_rights(), **given)[1] == [f"download: {tmp_path / name} {why}"]


# No room


AGAIN = "run it again: what is done is not redone."


@needs_strace
@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        ("write", "EDQUOT", f"your share of the disk is used up (quota). Free some space and {AGAIN}"),
        ("/rename", "ENOSPC", f"the disk is full. Free some space and {AGAIN}"),
        ("openat", "EROFS", f"data/raw/photos.part: Read-only file system. Make it accessible to this user, and {AGAIN}"),
    ],
)
def test_a_disk_that_takes_no_more_is_one_line_and_nothing_is_left(folder, call, error, said):
    where = ["-P", "data/raw/photos.part", "-P", str(folder / "data/raw/photos.part")]
    inject = ["strace", "-f", "-qq", "-o", os.devnull, *where, "-e", f"trace={call}", "-e", f"inject={call}:error={error}"]
    assert python(folder, "stages.download", before=inject) == (1, [f"download: {said}"])
    assert not list((folder / "data/raw").glob("*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_numpys_short_write_is_a_full_disk():
    with pytest.raises(OSError) as raised, open("/dev/full", "wb", buffering=0) as file:
        np.zeros(100_000).tofile(file)
    assert errors.of_disk(raised.value).startswith("the disk is full.")
    assert errors.of_disk(OSError(errno.EIO, "Input/output error")) is None


# What the system tells


def test_peak_memory_is_known_where_the_system_has_no_high_water_mark(tmp_path, monkeypatch):
    """As in gVisor."""
    usual = stage.peak_memory_mb()
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  100 kB\n")
    for name in ("status", "none"):
        monkeypatch.setattr(stage, "STATUS", tmp_path / name)
        assert usual / 2 < stage.peak_memory_mb() < usual * 2 + 1000


@pytest.mark.parametrize(
    ("told", "files", "cores"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/of/the/host", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/../..", {"cpu.max": "odd"}, math.inf),
        ("4:cpu,cpuacct:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpuacct,cpu:/of/host", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "50000"}, 2),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("4:cpuset:/", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, math.inf),
        (None, {}, math.inf),
    ],
)
def test_a_containers_quota_of_cores_is_kept(tmp_path, monkeypatch, told, files, cores):
    if told is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(told + "\n")
    for name, content in files.items():
        (tmp_path / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup" / name).write_text(content + "\n")
    assert environment.quota(tmp_path) == cores
    monkeypatch.setattr(environment, "quota", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert environment.cores() == min(64, math.ceil(cores) if cores < 64 else 64)


# Settings of other projects

KERAS = """
import json, os
from littledata.networks import keras
layer = keras.layers.Conv2D(2, 3)
found = [keras.config.backend(), keras.config.floatx(), keras.config.image_data_format(), keras.config.epsilon()]
found += [keras.config.max_epochs(), keras.config.max_steps_per_epoch(), layer.data_format, layer.compute_dtype]
print(json.dumps([found, keras.src.backend.config.keras_home(), {k: v for k, v in os.environ.items() if k[:6] == "KERAS_"}]))
"""


def test_what_is_set_for_other_keras_projects_has_no_effect(tmp_path):
    settings = {"image_data_format": "channels_first", "floatx": "float128", "epsilon": 0.1, "backend": "torch"}
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras/keras.json").write_text(json.dumps(settings))
    others = {"KERAS_BACKEND": "jax", "KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "x", "KERAS_NNX_ENABLED": "1"}
    words, env = [sys.executable, "-c", KERAS], offline(HOME=str(tmp_path), **others)
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    expected = ["tensorflow", "float32", "channels_last", 1e-7, None, None, "channels_last", "float32"]
    assert json.loads(done.stdout) == [expected, str(tmp_path / ".keras"), others], done.stderr
    assert json.loads((tmp_path / ".keras/keras.json").read_text()) == settings, "nobody's settings are written to"


@pytest.mark.parametrize("content", ["{", "[]", "7", '{"username": "somebody"}', b"\xff", None])
def test_an_odd_kaggle_json_stops_nobody_who_wants_no_kaggle(tmp_path, monkeypatch, capsys, content):
    monkeypatch.chdir(tmp_path)
    without = {"KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", sources.ARCHIVE_VARIABLE}
    alone = offline(HOME=str(tmp_path), KAGGLE_CONFIG_DIR=str(tmp_path / ".kaggle"))
    login = tmp_path / ".kaggle/kaggle.json"
    login.parent.mkdir()
    login.mkdir() if content is None else login.write_bytes(content if isinstance(content, bytes) else content.encode())
    with mock.patch.dict(os.environ, {name: value for name, value in alone.items() if name not in without}, clear=True):
        assert repro.choose(None, {"download": {"source": "kaggle"}})[0] == "cifar10"
        with pytest.raises(errors.UserError, match="Kaggle's login can't be read"):
            sources.bring(SimpleNamespace(source="kaggle"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Kaggle's login can't be read: ") and "Mend or remove ~/.kaggle/kaggle.json" in lines[0]
    assert len(lines) == 2 and lines[1].endswith("can't be reached: the proxy: Connection refused")


# Another run, or an edit, while a stage runs


@pytest.mark.parametrize("path", ["params.yaml", "littledata/core/tables.py"])
def test_what_changes_while_a_stage_runs_is_not_taken_for_what_it_was_made_from(another, path):
    """DVC reads params and code again at the end, and would note them with what others have made."""
    change(another, top__dropout=0.1)
    with started(another, "dvc", "repro", "top") as process:
        for line in process.stdout:
            if line.startswith("epoch 1 "):
                break
        if path == "params.yaml":
            change(another, top__dropout=0.2)
        else:
            with open(another / path, "a") as file:
                file.write("# edited\n")
        said = process.stdout.read()
    changed = "param top.dropout" if path == "params.yaml" else "littledata/core"
    assert process.returncode and f"top: {changed} changed while this stage ran" in said
    locked = lockfile.ins(lockfile.load((another / "dvc.lock").read_text(), "dvc.lock")["top"])
    assert locked["param top.dropout"] not in (0.1, 0.2)


# Damaged files of the project's own


def spoilt(data: bytes, count: int) -> list[bytes]:
    """A file's bytes with one bit turned, in so many ways, most of them in its headers; cut; and as what it never was."""
    rng = np.random.default_rng(1)
    places = [*rng.integers(0, min(200, len(data)), count), *rng.integers(0, len(data), count // 2)]
    places += [*rng.integers(max(0, len(data) - 200), len(data), count // 2)]
    turned = []
    for place in places:
        other = bytearray(data)
        other[place] ^= 1 << int(rng.integers(8))
        turned.append(bytes(other))
    return [*turned, data[: len(data) // 2], data[:-1], b"", b"no zip", bytes(len(data))]


def test_another_kind_of_processor_has_a_memo_of_its_own():
    less = [name for name in ("AVX512_SKX", "X86_V4", "X86_V3", "AVX2") if name in environment.instructions().split()]
    assert less, "NumPy knows no instruction set here that it could leave out"
    code = "from littledata.features import memo; print(memo.folder('origin').name)"
    for disabled, same in ("", True), (" ".join(less), False):
        env = offline(NPY_DISABLE_CPU_FEATURES=disabled)
        there = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        assert (there.stdout.strip() == memo.folder("origin").name) == same


def test_a_damaged_memo_is_found_and_computed_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memo, "MEMOS", tmp_path)
    right = np.arange(512, dtype=np.float16).reshape(1, 2, 2, 128)
    kept = memo.Memo("faults")
    kept.get("photo", lambda: right)
    (path,) = kept.folder.iterdir()
    data = path.read_bytes()
    asked = []
    for other in spoilt(data, 400):
        path.write_bytes(other)
        found = kept.get("photo", lambda: asked.append(1) or right)
        assert found.shape == right.shape and found.dtype == right.dtype and np.array_equal(found, right)
    assert len(asked) > 300, "the others were turned where no reader looks"
    assert path.read_bytes() == data and [path] == list(kept.folder.iterdir())
    assert capsys.readouterr().out.count(f"{path} is damaged (") == len(asked)


def test_a_damaged_checkpoint_is_dropped_and_said(tmp_path, monkeypatch, capsys):
    from littledata.networks import keras
    from littledata.training import checkpoint

    monkeypatch.setattr(checkpoint, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(checkpoint, "identity", lambda stage: "0" * 64)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    saved, right, best = checkpoint.Checkpoint("top", model), [np.full((4, 3), 2.0), np.full(3, 3.0)], checkpoint.Best(1)
    model.set_weights(right)
    best.update(model.get_weights(), np.full((5, 2), 0.5), np.full(5, 0.7))
    saved.save([{"loss": 0.5}], best)
    data, zeros, dropped = saved.path.read_bytes(), [np.zeros((4, 3)), np.zeros(3)], 0
    for content in [data, *spoilt(data, 100)]:
        saved.path.write_bytes(content)
        model.set_weights(zeros)
        best = checkpoint.Best(1)
        history, line = saved.resume(best), capsys.readouterr().out
        assert all(map(np.array_equal, model.get_weights(), right if history else zeros)) and saved.path.exists() == bool(history)
        if history:
            assert history == [{"loss": 0.5}] and (best.probabilities == 0.5).all() and not line
            assert len(best.weights) == 2 and all(map(np.array_equal, best.weights, right))
        else:
            assert re.fullmatch(rf"{saved.path} is damaged \(\w+\): removed, the training starts anew\n", line) and not best.weights
            dropped += 1
    assert dropped > 60
    saved.path.unlink(missing_ok=True)
    assert saved.resume(best) == [] and not capsys.readouterr().out


def test_what_a_disk_has_damaged_is_never_trained_on(another):
    damaged, right = "data/bottleneck/train.npy", (another / "dvc.lock").read_text()
    output, md5 = another / damaged, lockfile.md5(str(another / damaged))
    cached, data = another / ".dvc/cache/files/md5" / md5[:2] / md5[2:], bytearray(output.read_bytes())
    for file in output, cached:  # links to another pipeline's
        file.unlink()
    cached.write_bytes(data)
    cached.chmod(0o444)
    output.hardlink_to(cached)  # as DVC does
    run(another, "dvc", "status")  # DVC has seen the file as it should be
    before = output.stat()
    data[len(data) // 2] ^= 16
    output.chmod(0o644)
    output.write_bytes(data)
    os.utime(output, ns=(before.st_atime_ns, before.st_mtime_ns))  # nothing that DVC looks at tells of it
    output.chmod(0o444)
    change(another, top__dropout=0.1)
    said = run(another, "dvc", "repro", check=False)
    assert "top: data/bottleneck: not what dvc.lock says, so damaged, or edited by hand. `make mend` says which files" in said
    said = run(another, "tools.mend").splitlines()
    assert len(said) == 3 and f"{damaged}: not what was written, removed" in said
    assert said[-1] == "2 damaged. Now `dvc repro` makes them anew, or `dvc pull` brings them."
    change(another, top__dropout=settings(ROOT)["top"]["dropout"])
    run(another, "dvc", "repro")
    assert (another / "dvc.lock").read_text() == right and run(another, "tools.mend") == "Nothing is damaged.\n"


def test_a_run_caches_entry_that_is_damaged_is_removed(another):
    entry = next(path for path in (another / ".dvc/cache/runs").glob("*/*/*") if "stages.top" in path.read_text())
    content = entry.read_text()
    entry.unlink()
    entry.write_text(content.replace("md5: ", "md5: 0", 1))
    assert f"{entry}: not what was written, removed" in run(another, "tools.mend")
    assert not entry.exists()


@pytest.mark.parametrize("end", ["schema: '2", "stages:\n  do", "python -m stages.evaluate\n    de"])
def test_a_lock_that_a_kill_has_cut_off_is_mended(another, end):
    lock, right = another / "dvc.lock", (another / "dvc.lock").read_text()
    lock.write_text(right[: right.index(end) + len(end)])
    run(another, "dvc", "status", check=False)  # DVC can't read it
    said = run(another, "tools.mend").splitlines()
    assert len(said) == 2 and said[0].startswith("dvc.lock: cut off while DVC wrote it")
    if "evaluate" in end:
        assert set(lockfile.load(lock.read_text(), "dvc.lock")) >= {"download", "finetune"}
        assert not stages_run(run(another, "dvc", "repro")) and lock.read_text() == right
    else:
        assert not lock.exists()


@pytest.mark.parametrize("left", ["", '{"write": {}, "re', '{"write": {"/data": 1}}'])
def test_lists_of_readers_and_writers_that_a_kill_has_cut_off_are_removed(another, left):
    """DVC, which wrote them in place, refuses every command that runs stages, or an experiment, until they are gone."""
    rwlocks = another / ".dvc/tmp/rwlock", another / ".dvc/tmp/exps/rwlock"
    for path in rwlocks:
        path.parent.mkdir(exist_ok=True)
        path.write_text(left)
    assert "RWLock-file" in run(another, "dvc", "repro", check=False)
    assert "RWLock-file" in run(another, "dvc", "exp", "run", check=False)
    said = run(another, "tools.mend")
    assert all(f"{path}: not what was written, removed" in said for path in rwlocks)
    assert not stages_run(run(another, "dvc", "exp", "run"))


def killed_while_it_wrote(folder: Path, *names: str) -> None:
    """Leave parts of files that a process was about to give their names."""
    code = "import contextlib, os, pathlib, signal, sys\nfrom littledata.core import files\nwith contextlib.ExitStack() as stack:\n"
    code += "    [stack.enter_context(files.whole(pathlib.Path(name))) for name in sys.argv[1:]]\n    os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, *names], cwd=folder, env=offline(PYTHONPATH=str(ROOT)))


def test_what_a_killed_stage_had_begun_to_write_is_removed_by_the_next_run_and_by_mend(another):
    names = "metrics/roc/small_cnn.csv", "metrics/metrics.json", "data/predictions.csv", ".cache/measured/top.json"
    (another / "models/mine.part").touch()
    for module, written in ("stages.evaluate", names), ("tools.mend", (*names[2:], "models/top.keras")):
        killed_while_it_wrote(another, *written)
        parts = {part for name in written for part in (another / name).parent.glob(f"{Path(name).name}.*.part")}
        assert len(parts) == len(written) and not git(another, "status", "--short", "--", "metrics")
        with files.whole(another / "data/mine.csv") as file:  # of a process that lives
            run(another, module)
            assert not any(part.exists() for part in parts) and Path(file.name).exists()
    assert (another / "models/mine.part").exists()


def test_conflicts_of_a_merge_in_a_lock_are_left_to_people(another):
    lock = another / "dvc.lock"
    conflict = lock.read_text().replace("  evaluate:\n", "<<<<<<< HEAD\n  evaluate:\n=======\n>>>>>>> other\n")
    lock.write_text(conflict)
    assert "dvc.lock is not valid YAML" in run(another, "tools.mend", check=False)
    assert lock.read_text() == conflict


def test_a_drawn_photo_that_was_edited_in_place_is_named(tmp_path, monkeypatch, photos):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/photos/train/cat").mkdir(parents=True)
    data = photos["cat"][0]
    photo = dataset.Photo("train/cat/1.jpg", "cat", "train", "1.jpg", hashlib.sha256(data).hexdigest())
    photo.path.write_bytes(data)
    assert photo.read() == data
    photo.path.write_bytes(data[:-1])
    with pytest.raises(errors.UserError, match="data/photos/train/cat/1.jpg: damaged, or edited by hand: not the photo that"):
        photo.read()


def test_no_credential_is_written_or_printed(pipeline):
    """Neither into a log, the lock, a report or a model, nor into any cache."""
    every = [path for path in pipeline.rglob("*") if path.is_file()]
    assert pipeline / ".cache/log.txt" in every and pipeline / "dvc.lock" in every and len(every) > 300
    planted = [value.encode() for value in PLANTED.values()]
    assert not [path for path in every if any(value in path.read_bytes() for value in planted)]


def test_a_file_gets_its_name_once_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(OSError, match="full"), files.whole(path) as file:
        file.write(b"half")
        raise OSError("full")
    assert not list(tmp_path.iterdir())
    with files.whole(path) as file:
        file.write(b"all of it")
        with files.whole(path) as other:  # nobody waits for anybody
            other.write(b"of the other")
        assert path.read_bytes() == b"of the other"
    assert path.read_bytes() == b"all of it" and list(tmp_path.iterdir()) == [path]
    (tmp_path / "cached").hardlink_to(path)
    tables.write(path, ["a"], [["b"]])
    assert (tmp_path / "cached").read_bytes() == b"all of it", "nothing is written through a link into a cache"
