"""A team on one cache: a folder, an S3 server and an SSH server, each real and on this machine, and what can go wrong."""

import asyncio
import contextlib
import hashlib
import json
import shlex
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest
from conftest import ROOT, copied, git, offline, restore, run, stages_run

from littledata.core import files
from studies import s3


class Remote:
    """Where a team's cache lies, what each clone sets besides the URL, and the environment with its credentials."""

    def __init__(self, url: str, settings: dict[str, str] | None = None, **environment: str) -> None:
        self.url, self.settings, self.apart = url, settings or {}, "://" in url  # clients keep connections, and old settings
        self.environment = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | environment

    def run(self, folder: Path, *command: str, check: bool = True) -> str:
        return run(folder, *command, check=check, apart=self.apart, **self.environment)

    def connect(self, folder: Path) -> None:
        """What a user does in a clone whose .dvc/config has the remote: credentials, into .dvc/config.local."""
        for name, value in self.settings.items():
            run(folder, "dvc", "remote", "modify", "--local", "team", name, value)


@contextlib.contextmanager
def s3_remote(place: Path):
    with s3.server("team") as environment:
        yield Remote("s3://team/dogs-vs-cats", {"endpointurl": environment["AWS_ENDPOINT_URL"]}, **s3.USER)


@contextlib.contextmanager
def ssh_remote(place: Path):
    """An SFTP server in a thread: the host key is known to the clients, theirs to the server."""
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    (place / "server").mkdir()
    (place / "home/.ssh").mkdir(parents=True)
    user_key.write_private_key(place / "key")
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    known = {
        "server_host_keys": [host_key],
        "authorized_client_keys": asyncssh.import_authorized_keys(user_key.export_public_key().decode()),
    }
    start = asyncssh.listen(
        "127.0.0.1", 0, **known, sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=bytes(place / "server"))
    )
    port = asyncio.run_coroutine_threadsafe(start, loop).result(10).get_port()
    (place / "home/.ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")
    try:
        yield Remote(f"ssh://somebody@127.0.0.1:{port}/team", {"keyfile": str(place / "key")}, HOME=str(place / "home"))
    finally:
        loop.call_soon_threadsafe(loop.stop)


def set_up(folder: Path, url: str) -> None:
    """`make remote URL=...`, its own commands without the installing."""
    make = ["make", "--no-print-directory", "-n", "remote", f"URL={url}"]
    printed = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    commands = [shlex.split(line, comments=True) for line in printed.splitlines() if line.startswith("dvc ")]
    assert len(commands) == 2
    for command in commands:
        run(folder, *command)


def shared(first: Path, remote: Remote) -> Path:
    """Set the remote up in the first clone and push everything; returns the repository that the team shares."""
    origin = first.parent / "origin"
    git(first, "init", "-q", "--bare", str(origin))
    git(first, "remote", "add", "origin", str(origin))
    set_up(first, remote.url)
    remote.connect(first)
    git(first, "commit", "-qam", "a remote for the team")
    git(first, "push", "-q", "-u", "origin", "HEAD")
    remote.run(first, "tools.push")
    return origin


@dataclass
class Team:
    """A colleague's clone in which everything has run, what the team shares of it, and where further clones go."""

    first: Path
    remote: Remote
    origin: Path

    def clone(self, folder: Path) -> Path:
        git(self.origin, "clone", "--quiet", ".", str(folder))
        return folder


@pytest.fixture(scope="module")
def team(pipeline, tmp_path_factory) -> Team:
    """A team that shares a folder."""
    place = tmp_path_factory.mktemp("team")
    first, remote = copied(pipeline, place / "first"), Remote(str(place / "shared"))
    return Team(first, remote, shared(first, remote))


@pytest.fixture(scope="module", params=[s3_remote, pytest.param(ssh_remote, marks=pytest.mark.slow)])
def served(request, pipeline, tmp_path_factory) -> Iterator[Team]:
    """A team that shares a server."""
    place = tmp_path_factory.mktemp("served")
    first = copied(pipeline, place / "first")
    with request.param(place) as remote:
        yield Team(first, remote, shared(first, remote))


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics/metrics.json").read_text())


def test_nobody_computes_what_a_colleague_has_computed(team, tmp_path):
    remote, first, second = team.remote, team.first, team.clone(tmp_path / "second")
    assert stages_run(remote.run(second, "dvc", "repro", "--pull", "--allow-missing")) == []
    assert metrics(second) == metrics(first) and not (second / "data/photos").exists()

    rate = ("exp", "run", "--pull", "--allow-missing", "-S", "finetune.lr=0.02")
    assert stages_run(remote.run(second, "dvc", *rate, "-n", "faster")) == ["finetune", "evaluate"]
    remote.run(second, "dvc", "exp", "push", "origin", "faster")
    assert metrics(second) != metrics(first)

    before = metrics(first)
    remote.run(first, "dvc", "exp", "pull", "origin", "faster")
    remote.run(first, "dvc", "exp", "apply", "faster")
    assert stages_run(remote.run(first, "dvc", "repro")) == []
    assert metrics(first) == metrics(second)
    restore(first)

    # A run that no commit of the third clone has comes from the run cache, and so does the way back.
    remote.run(second, "tools.push")
    third = team.clone(tmp_path / "third")
    assert stages_run(remote.run(third, "dvc", *rate)) == []
    assert metrics(third) == metrics(second)
    assert stages_run(remote.run(third, "dvc", *rate[:-1], "finetune.lr=0.001")) == [] and metrics(third) == before

    # What `make pull` does: all of it is here, and nothing runs.
    remote.run(third, "dvc", "pull", "--run-cache", "--allow-missing")
    for name in ("data/photos", "data/activations", "models/finetune.keras", "data/predictions.csv"):
        assert (third / name).exists()
    assert stages_run(remote.run(third, "dvc", "repro")) == []


def test_a_server_gives_what_a_folder_gives(served, tmp_path):
    second = served.clone(tmp_path / "second")
    served.remote.connect(second)
    assert stages_run(served.remote.run(second, "dvc", "repro", "--pull", "--allow-missing")) == []
    assert metrics(second) == metrics(served.first)
    served.remote.run(second, "dvc", "pull", "models/top.keras")
    assert (second / "models/top.keras").read_bytes() == (served.first / "models/top.keras").read_bytes()
    for folder in (served.first, second):
        tracked = subprocess.run(["git", "grep", "-lE", "secret|keyfile|endpointurl"], cwd=folder, capture_output=True)
        assert not {"config", ".dvc/config"} & set(tracked.stdout.decode().split())


def test_the_classifier_is_fetched_by_its_version_and_runs(team, photos, tmp_path):
    """docs/team.md's model registry: a tag of GTO's, and the file from the remote that the repository names."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "photo.jpg").write_bytes(photos["cat"][0])
    somebody = {"GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.com"}
    subprocess.run(["gto", "register", "classifier"], cwd=team.first, env=offline(**somebody), check=True)
    git(team.first, "push", "-q", "--tags", "origin")
    assert "refs/tags/classifier@v0.0.1" in git(team.origin, "tag", "--format=%(refname)")
    run(elsewhere, "dvc", "artifacts", "get", str(team.origin), "classifier", apart=True)
    fetched = elsewhere / "classifier.onnx"
    assert fetched.read_bytes() == (team.first / "models/classifier.onnx").read_bytes()
    words = ["littledata.predict.predict", "--model", str(fetched), str(elsewhere / "photo.jpg")]
    assert run(ROOT, *words, apart=True).endswith(f"  {elsewhere}/photo.jpg\n")


def test_a_corrupted_object_is_refused(team, tmp_path):
    second = team.clone(tmp_path / "second")
    digest = hashlib.md5((team.first / "models/finetune.keras").read_bytes()).hexdigest()
    model = Path(team.remote.url, "files/md5", digest[:2], digest[2:])
    whole = model.read_bytes()
    model.chmod(0o644)
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        output = team.remote.run(second, "dvc", "pull", "models/finetune.keras", check=False)
        assert "finetune.keras" in output and not (second / "models/finetune.keras").exists()
        for path in files.of(second / ".dvc/cache/files/md5"):  # half a download has no such name
            assert path.suffix == ".tmp" or files.digest_of(path, "md5") == path.parent.name + path.name.removesuffix(".dir"), path
    finally:
        model.write_bytes(whole)
    team.remote.run(second, "dvc", "pull", "models/finetune.keras")
    assert (second / "models/finetune.keras").read_bytes() == whole
