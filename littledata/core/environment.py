"""The environment tells a stage where the project lies, how many threads it may use, and what the processor can do."""

import collections
import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# A queued experiment runs in a copy of the project that is deleted afterwards. What has to outlive it, and what the
# user named by a relative path, goes by the project itself, which DVC names to every stage.
ROOT = Path(os.environ.get("DVC_ROOT", "."))


def quota(root: Path = Path("/")) -> float:
    """How many cores' time a container's control groups leave to this process: infinity where they set no limit.

    A group's limit holds for all below it. In a container the files of its own group may lie at the top of the tree, while
    the path that the process is told is the host's: so all are read that are there.
    """
    least = math.inf
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                top = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
                group = top / path.lstrip("/")
                least = min([least, *(_limit(folder) for folder in (group, *group.parents) if folder.is_relative_to(top))])
    return least


def _limit(group: Path) -> float:
    """The limit of one control group, of version 2 or 1, in cores."""
    for names in ["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]:
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            time, period = " ".join((group / name).read_text() for name in names).split()
            return int(time) / int(period) if time not in ("max", "-1") else math.inf
    return math.inf


def cores() -> int:
    """How many cores this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, quota())))


# The usual variable, so that experiments side by side can share the cores instead of fighting for them. It may be a list.
# Sums are split by the number of threads, so a training that goes on under another quota begins anew (`checkpoint.identity`).
_asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
THREADS = max(1, int(_asked)) if _asked.isdecimal() else cores()


def keep_memory() -> None:
    """Have glibc keep what large tensors leave free, instead of giving it back to the kernel and asking for it again a moment later.

    In a training of small layers half of the time went there: level 1 took 30 s an epoch, and 17 s with this, on two virtual cores.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block of its own from the kernel for any tensor
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing back from the top of the heap


def ahead(pool: ThreadPoolExecutor, work: Callable, items: Iterable, count: int) -> Iterator:
    """`pool.map`, but never more than `count` results wait to be asked for, so that memory stays the same."""
    waiting: collections.deque = collections.deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def instructions() -> str:
    """The processor's instruction set, as far as NumPy asks for it, on every system: another one rounds differently."""
    import numpy

    extensions = numpy.show_config(mode="dicts")["SIMD Extensions"]
    return " ".join(sorted({*extensions["baseline"], *extensions.get("found", ())}))
