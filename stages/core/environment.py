"""The environment tells a stage where the project lies and how many threads it may use."""

import os
from pathlib import Path

# A queued experiment runs in a copy of the project that is deleted afterwards. What has to outlive it, and what the
# user named by a relative path, goes by the project itself, which DVC names to every stage.
ROOT = Path(os.environ.get("DVC_ROOT", "."))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The usual variable, so that experiments side by side can share the cores instead of fighting for them. It may be a list.
_asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
THREADS = max(1, int(_asked)) if _asked.isdecimal() else _cores()
