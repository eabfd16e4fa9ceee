"""Ray nodes on this machine alone, for tests and measurements: bound to 127.0.0.1, in a temporary folder of their own, without usage
statistics, and ended by their process ids. Where the system allows, each has a mount namespace in which the project's folder is empty,
as on a machine that does not have it.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from littledata.core.errors import UserError

ROOT = Path(__file__).parent.parent
MARK = "STUDIES_CLUSTER"  # in the environment of all that a cluster starts: names its folder
STORE_BYTES = 200 * 2**20  # of a node's object store; it holds the classifier
SECONDS_TO_START = 60  # twice what Ray itself waits for a node
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_period_ms": "1000",  # a third of Ray's own: a dead node is known as one sooner
    "RAY_worker_niceness": "0",  # Ray's own 15 would let all else on this machine go first
}
# The Python environment may lie in the project's folder: it stays.
RAY_START = """\
from ray._private import services
services.get_node_ip_address = lambda *_: "127.0.0.1"  # `ray start` replaces that by an address that others can reach
from ray.scripts.scripts import main
main()
"""
HIDDEN = """\
set -e
mount --bind "$2" "$3"
mount -t tmpfs none "$1"
case "$2" in "$1"/*) mkdir -p "$2"; mount --move "$3" "$2" ;; esac
shift 3
exec "$@"
"""


class Cluster:
    """Running nodes. `driver` is the environment of a command that uses them; `hidden` says whether they don't see the project."""

    def __init__(self, folder: Path, hidden: bool, **environment: str) -> None:
        self.folder, self.nodes = folder, []
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        # The last one keeps Ray from looking for another address of this machine's.
        self.driver = {"ENGINE": "ray", "RAY_ADDRESS": self.address, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        self.environment = environment
        (folder / "environment").mkdir()
        self.hidden = hidden and not subprocess.run([*self._apart(), "true"], capture_output=True).returncode

    def _apart(self) -> list[str]:
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        return ["unshare", *user, "--mount", "sh", "-c", HIDDEN, "sh", str(ROOT), sys.prefix, str(self.folder / "environment")]

    def start(self, cpus: int = 1, **environment: str) -> subprocess.Popen:
        """Start a node, the first one as the head, and wait until it is part of the cluster."""
        words = [sys.executable, "-c", RAY_START, "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
        words += [f"--num-cpus={cpus}", "--num-gpus=0", f"--object-store-memory={STORE_BYTES}", "--min-worker-port=0"]
        words += ["--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}"]
        head = ["--head", f"--port={self.port}", f"--ray-client-server-port={free_port()}", "--include-dashboard=false"]
        words += [f"--address={self.address}"] if self.nodes else [*head, f"--temp-dir={self.folder}"]
        env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        env |= {MARK: str(self.folder), **SETTINGS, **self.environment, **environment}
        apart = self._apart() if self.hidden else []
        with open(self.folder / f"node{len(self.nodes)}.log", "wb") as log:
            node = subprocess.Popen([*apart, *words], cwd="/", env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.nodes.append(node)
        end = time.monotonic() + SECONDS_TO_START
        while b"Ray runtime started" not in Path(log.name).read_bytes():
            if node.poll() is not None or time.monotonic() > end:
                said = Path(log.name).read_text().splitlines()[-1:]
                raise UserError(f"A Ray node did not start. The last that it said: {' '.join(said)}")
            time.sleep(0.1)
        return node

    def processes(self) -> list[psutil.Process]:
        """All that runs for this cluster."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def kill(self, node: subprocess.Popen) -> None:
        """End a node at once, as if the machine were switched off."""
        for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        node.wait()

    def stop(self) -> None:
        """End all nodes: politely, and after some seconds by force."""
        for node in reversed(self.nodes):
            node.terminate()
        _, alive = psutil.wait_procs(self.processes(), timeout=10)
        for process in {*alive, *self.processes()}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        for node in self.nodes:
            node.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@contextlib.contextmanager
def local(nodes: int, cpus: int = 1, hidden: bool = True, **environment: str) -> Iterator[Cluster]:
    """A cluster of so many nodes with so many CPUs each, with variables in their environment. `hidden`: the project is, if it can."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: the names of sockets in it have an end
    cluster = Cluster(folder, hidden, **environment)
    try:
        for _ in range(nodes):
            cluster.start(cpus)
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
