"""Run a stage: check its params, report errors to people, measure."""

import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from littledata.core import environment, errors, files, lockfile, measured, params, process

STATUS = Path("/proc/self/status")


def clear(declared: dict) -> None:
    """Remove a stage's outputs, as DVC does before it starts one, and what a killed run had begun to write beside them.

    An output may be a hard link into DVC's cache: a stage started by hand must not write through it.
    """
    for out in map(Path, lockfile.paths(declared, "outs")):
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink(missing_ok=True)
    written = lockfile.paths(declared, "outs", "metrics", "plots")
    folders = {os.path.dirname(path) or "." for path in written} | {folder for path in written for folder, *_ in os.walk(path)}
    files.remove_abandoned(environment.ROOT / measured.MEASURED, *folders)


def seconds() -> float:
    """The seconds since this process began. They include the import of TensorFlow."""
    return round(time.time() - psutil.Process().create_time(), 1)


def peak_memory_mb() -> int:
    """The most memory that this process has held, in MB of 2**20 bytes."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20
    # Linux' getrusage starts with the peak of whoever started the process; the high-water mark does not, where there is one.
    mark = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    return int(mark[1] if mark else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) >> 10


def run(stage: str, main: Callable[[params.Params], None]) -> None:
    """Run `main` with the stage's params, then note what it took in .cache/measured. What goes wrong ends the process with one line."""
    process.interruptible(True)
    try:
        with errors.for_people(f"{stage}: ", "stopped."):
            _run(stage, main)
    finally:
        process.interruptible(False)


def _run(stage: str, main: Callable[[params.Params], None]) -> None:
    """DVC reads params and code again when a stage has ended. Where they have changed meanwhile, by an edit or by another run in the
    same workspace, it would note what the stage made under what it was not made from. So the stage fails."""
    tree, declared, made = params.read(params.PARAMS), params.declared(stage), lockfile.made()
    chosen, before = params.chosen(declared, params.check(tree, params.PARAMS)), lockfile.due(declared, tree, made)
    if process.STARTED_BY_DVC in os.environ and (spoilt := lockfile.spoilt(declared, made)):  # by hand, dvc.lock is of another run
        raise errors.UserError(
            f"{', '.join(spoilt)}: not what dvc.lock says, so damaged, or edited by hand. `make mend` says which files and "
            "removes them; then the same command makes them anew."
        )
    clear(declared)
    try:
        main(chosen)
    except Exception as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":  # TensorFlow's
            raise
        raise errors.UserError(
            "this takes more memory than there is: lower a batch_size, an image_size, filters or units."
        ) from None
    after = lockfile.due(declared, params.read(params.PARAMS), lockfile.made())
    if changed := [name for name in before if after.get(name) != before[name]]:
        raise errors.UserError(
            f"{', '.join(changed)} changed while this stage ran, by an edit or another run: what it made is of the one before. Run "
            "it again."
        )
    measured.keep(stage, after, seconds(), peak_memory_mb())
