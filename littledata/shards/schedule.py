"""The engine that makes shards: this process, one after the other, or the workers of a Ray cluster. The files are the same.

ENGINE=ray in the environment chooses Ray, and Ray's own RAY_ADDRESS the cluster; without it, it is the one that runs on this machine.
Ray only schedules: a shard's photos go to a worker, which reads them and writes the shard. What dies is begun again.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from littledata.core.errors import UserError
from littledata.core.progress import progress
from littledata.photos.photo import Photo
from littledata.shards import work
from littledata.shards.rows import Format
from littledata.shards.work import Done, Job, Shard, Span

VARIABLE = "ENGINE"
EXTRA = "ENGINE=ray takes Ray: .venv/bin/python tools/install.py requirements/ray.txt, or pip install 'littledata[ray]'."
RETRIES = 3  # of a shard whose worker or node died; what always ends its worker ends the run
SECONDS_TO_ANSWER = 10  # for a cluster
SECONDS_BETWEEN_LOOKS = 5  # for CPUs that have come or gone
SECONDS_BETWEEN_LINES = 60  # while nothing comes back
AHEAD = 2  # shards a CPU that are handed to the cluster
AGAIN = "The same command goes on where it stopped."


class Process:
    """This process, on all its cores."""

    def machine(self, form: Format) -> dict[str, str]:
        """The kind of machine that computes, as `work.machine` gives it."""
        return work.machine(form)

    def make(self, job: Job, shards: Iterable[Shard]) -> Iterator[Done]:
        """Make shards, one after the other."""
        return (work.make(job, shard) for shard in shards)


class Cluster:
    """A Ray cluster that this process is connected to."""

    def __init__(self, ray) -> None:
        self.ray = ray

    def machine(self, form: Format) -> dict[str, str]:
        """The kind of machine that every node is. It takes no CPU to say that, so nobody waits for those that others use.

        Raises
        ------
        UserError
            Where a node can't compute, or two of them are of different kinds.
        """
        ray, asked, kinds = self.ray, {}, {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                on_node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = ray.remote(num_cpus=0, max_retries=RETRIES, scheduling_strategy=on_node)(work.machine)
                asked[f"{node['NodeManagerHostname']} {node['NodeID'][:8]}"] = task.remote(form)
        for name, reference in asked.items():
            try:
                kinds[name] = ray.get(reference)
            except (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError) as error:
                # Above all: a package that is not installed there.
                raise UserError(f"The node {name} can't compute: {_last(error)}. Install requirements/ray.txt on it.") from None
            except ray.exceptions.RayError:  # it has just gone; its shards go elsewhere
                continue
        if not kinds:
            raise UserError("The Ray cluster has no node with a CPU: start one.")
        (first, kind), *others = kinds.items()
        for name, other in others:
            if differs := work.difference(kind, other):
                raise UserError(f"Of the cluster's nodes {name} is of another kind than {first}: {differs}. {work.ONE_KIND}")
        return kind

    def make(self, job: Job, shards: Iterable[Shard]) -> Iterator[Done]:
        """Make shards, one a CPU, in any order. What dies is begun again.

        Raises
        ------
        UserError
            Where a node has come that is of another kind or can't reach the photos, or a shard fails.
        """
        ray, model = self.ray, self.ray.put(Path(job.path).read_bytes())
        # One CPU and one thread a shard: a worker that dies takes one shard with it.
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(work.make)
        shards, running, heard = iter(shards), {}, time.monotonic()
        while True:
            cpus = int(ray.cluster_resources().get("CPU", 0))
            while len(running) < max(1, AHEAD * cpus) and (shard := next(shards, None)):
                running[task.remote(job, shard, model)] = shard
            if not running:
                return
            ready, _ = ray.wait(list(running), timeout=SECONDS_BETWEEN_LOOKS)
            for reference in ready:
                yield self._result(reference, running.pop(reference))
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > SECONDS_BETWEEN_LINES:
                heard = time.monotonic()
                free = int(ray.available_resources().get("CPU", 0))
                print(f"waiting for the cluster: {len(running)} shards are handed out, {free} of {cpus} CPUs are free", flush=True)

    def _result(self, reference, shard: Shard) -> Done:
        which = f"The shard from {shard.photos[0].key} to {shard.photos[-1].key}"
        try:
            return self.ray.get(reference)
        except UserError as error:  # the worker's, with Ray's traceback around it
            raise UserError(str(getattr(error, "cause", error))) from None
        except self.ray.exceptions.RayTaskError as error:
            raise UserError(f"{which}: {_last(error)}. {AGAIN}") from None
        except self.ray.exceptions.RayError as error:
            ended = f"has ended its worker {RETRIES + 1} times ({type(error).__name__})"
            raise UserError(f"{which} {ended}: maybe a photo in it takes more memory than a worker has. {AGAIN}") from None


def _last(error: Exception) -> str:
    """What Ray says of an error of a worker's, without the traceback."""
    return str(error).strip().splitlines()[-1]


Engine = Process | Cluster
Planned = dict[str, Span]  # shards by their stems, in order


def run(
    engine: Engine, job: Job, photos: Callable[[], Iterable[Photo]], size: int, label: str, others: bool
) -> tuple[Planned, Done]:
    """Make the shards that are missing, and note all of them.

    Parameters
    ----------
    engine : what `engine` gives
    job : Job
    photos : callable
        Gives the photos, sorted, each time.
    size : int
        How many photos a shard has, about.
    label : str
        For the progress.
    others : bool
        As `work.note` takes it.

    Returns
    -------
    The shards, and the sum of them all.
    """
    planned, made = work.plan(job, photos(), size), work.finished(job)
    count, fresh, wrong = sum(span.photos for span in planned.values()), 0, 0
    with progress(count, label) as bar:
        bar.update(sum(span.photos for stem, span in planned.items() if stem in made))
        for done in engine.make(job, work.missing(job, planned, made, photos(), size)):
            bar.update(done.photos)
            fresh, wrong = fresh + done.fresh, wrong + done.wrong
    work.note(job, planned, others)
    return planned, Done(count, fresh, wrong)


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """The engine that ENGINE names. Raises UserError where it names none, Ray is not installed or no cluster answers."""
    name = os.environ.get(VARIABLE, "")
    if name not in ("", "ray"):
        raise UserError(f"{VARIABLE} is {name!r}; expected ray, or nothing for this machine alone.")
    with _cluster() if name else contextlib.nullcontext(Process()) as chosen:
        yield chosen


@contextlib.contextmanager
def _cluster() -> Iterator[Cluster]:
    """Connect to a running cluster; the library's code goes with the job, so workers need not have it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise UserError(EXTRA) from None
    address = os.environ.get("RAY_ADDRESS", "")
    _answers(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = {"py_modules": [str(work.LIBRARY)], "env_vars": {"OMP_NUM_THREADS": "1"}}
        ray.init(address=address or "auto", runtime_env=code, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(f"No Ray cluster at {address or 'this machine'}: {' '.join(str(error).split())}") from None
    try:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():  # Ray's own would end this process in another way than without it
                signal.signal(number, handler)
        yield Cluster(ray)
    finally:
        ray.shutdown()  # with what the cluster still computes for this


def _answers(address: str) -> None:
    """Raise UserError at once where nobody listens: Ray would try for a minute and print pages."""
    if address in ("", "auto"):
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise UserError(f"RAY_ADDRESS is {address!r}; expected host:port of a cluster's head, and a node of it on this machine.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise UserError(f"No Ray cluster at {address}: {error.strerror or error}. Start one, or set RAY_ADDRESS.") from None
