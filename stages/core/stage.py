"""Run a stage: check its params, report errors to people, measure."""

import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from stages.core import lockfile, measured, params
from stages.core.errors import UserError


def _remove(out: Path) -> None:
    """Remove an output of an earlier run, as DVC does before it starts a stage.

    It may be a hard link into DVC's cache: a stage started by hand must not write through it.
    """
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink(missing_ok=True)


def seconds() -> float:
    """The seconds since this process began. They include the import of TensorFlow."""
    return round(time.time() - psutil.Process().create_time(), 1)


def peak_memory_mb() -> int:
    """The most memory that this process has held, in MB of 2**20 bytes."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20
    # Linux' getrusage starts with the peak of whoever started the process; the high-water mark is its own.
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10


def run(stage: str, main: Callable[[Mapping], None]) -> None:
    """Run `main` with the stage's params, then note what it took in .cache/measured."""
    try:
        given, declared = params.load(), params.declared(stage)
        for out in lockfile.paths(declared, "outs"):
            _remove(Path(out))
        main(params.chosen(declared, given))
    except UserError as error:
        sys.exit(f"{stage}: {error}")
    except OSError as error:
        if error.errno == 28:
            sys.exit(f"{stage}: the disk is full. Free some space and run it again: what is done is not redone.")
        raise
    except KeyboardInterrupt:
        sys.exit(f"{stage}: stopped.")
    measured.keep(stage, lockfile.due(declared, given, lockfile.made()), seconds(), peak_memory_mb())
