"""Keep how long every stage took on this machine, and how much memory it held.

These are no outputs and no metrics: the same result takes other seconds elsewhere, and in git they would differ in every
commit. They lie in .cache/measured by the project's root, so they outlive a queued experiment's copy of the project. A file's
name has a digest of what went into the stage, by its lock entry: whoever has a lock, of the workspace or of any commit, finds
what its stages took here. A result from a cache has the seconds of the run that computed it.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from littledata.core import environment, files, lockfile

MEASURED = Path(".cache/measured")


def _file(stage: str, ins: Mapping[str, object]) -> Path:
    same = {name: float(value) if type(value) is int else value for name, value in ins.items()}  # 1 is 1.0 in a param
    digest = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
    return MEASURED / f"{stage}-{digest[:16]}.json"


def keep(stage: str, ins: Mapping[str, object], seconds: float, peak_memory_mb: int) -> None:
    """Note what a stage took that ends now. `ins` is what went in, as `lockfile.due` has it.

    A stage that was started by hand, with deps that the lock does not hold, leaves no note.
    """
    if None in (md5 for name, md5 in ins.items() if not name.startswith("param ")):
        return
    path = environment.ROOT / _file(stage, ins)
    with contextlib.suppress(OSError):  # what a stage has made is not lost because its seconds can't be noted
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as file:
            file.write(json.dumps({"seconds": seconds, "peak_memory_mb": peak_memory_mb}).encode() + b"\n")


def of(stage: str, locked: dict, root: Path = environment.ROOT) -> dict | None:
    """`seconds` and `peak_memory_mb` of a stage with this lock entry, or None where it didn't run on this machine."""
    try:
        return json.loads((root / _file(stage, lockfile.ins(locked))).read_text())
    except (OSError, ValueError):
        return None
