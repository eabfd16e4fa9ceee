"""What every stage does around its own work: check params, report errors to people, measure."""

import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

START = time.perf_counter()  # this module is the first that a stage imports, TensorFlow comes after

from stages.lib import measured, params  # noqa: E402
from stages.lib.errors import UserError  # noqa: E402


def _remove(out: Path) -> None:
    """Remove an output of an earlier run, as DVC does before it starts a stage.

    It may be a hard link into DVC's cache: a stage started by hand must not write through it.
    """
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink(missing_ok=True)


def peak_memory_mb() -> int:
    """The most memory that this process has held, in MB of 2**20 bytes."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20
    # Linux' getrusage starts with the peak of whoever started the process; the high-water mark is its own.
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10


def run(stage: str, main: Callable[[Mapping], None]) -> None:
    """Run `main` with the stage's params, then note what it took in .cache/measured."""
    try:
        given = params.for_stage(stage)
        for out in params.declared(stage).get("outs", []):
            _remove(Path(out if isinstance(out, str) else next(iter(out))))  # a path, or one with options
        main(given)
    except UserError as error:
        sys.exit(f"{stage}: {error}")
    except OSError as error:
        if error.errno == 28:
            sys.exit(f"{stage}: the disk is full. Free some space and run it again: what is done is not redone.")
        raise
    except KeyboardInterrupt:
        sys.exit(f"{stage}: stopped.")
    measured.keep(stage, round(time.perf_counter() - START, 1), peak_memory_mb())
