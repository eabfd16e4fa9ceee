"""Run a command of this project as a process of its own, and measure it."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from littledata.core.errors import UserError
from littledata.photos import sources
from tools import experiment

# Runs a command and notes its peak memory, in KB, and the seconds of a core that it used: a child of this very process would begin
# with the memory that this one has.
WRAPPER = """\
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(f"{used.ru_maxrss} {used.ru_utime + used.ru_stime}")
sys.exit(status)
"""
LOOK = 0.2  # s


class Ran(NamedTuple):
    """What a command took; its lines, each with the seconds after which it was printed."""

    seconds: float
    core_seconds: float
    peak_mb: float
    lines: list[tuple[float, str]]


def run(
    *words: str, folder: Path = Path(), env: Mapping | None = None, show: bool = False, meanwhile: Callable | None = None
) -> Ran:
    """Run a module of this Python in a folder, with some more environment; UserError where it fails.

    With `show` it prints where this process does; else what it prints is kept, and shown where it fails. `meanwhile` is called every
    0.2 s.
    """
    with tempfile.TemporaryDirectory() as temporary, open(Path(temporary, "errors"), "w+") as errors:
        note = Path(temporary, "note")
        wrapped = [sys.executable, "-c", WRAPPER, str(note), sys.executable, "-m", *words]
        out, err = (None, None) if show else (subprocess.PIPE, errors)
        start, lines, ended = time.perf_counter(), [], threading.Event()
        archive = sources.by_hand()  # a path that may be relative to this folder
        by_hand = {sources.ARCHIVE_VARIABLE: str(archive.absolute())} if archive else {}
        env = experiment.environment() | {"DVC_ROOT": ""} | by_hand | dict(env or {})
        process = subprocess.Popen(wrapped, cwd=folder, env=env, text=True, start_new_session=True, stdout=out, stderr=err)

        def look() -> None:
            while meanwhile and not ended.wait(LOOK):
                meanwhile()

        looking = threading.Thread(target=look)
        looking.start()
        try:
            for line in process.stdout or ():
                lines.append((time.perf_counter() - start, line.rstrip("\n")))
            status = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # it would go on alone
            raise
        finally:
            ended.set()
            looking.join()
        seconds = time.perf_counter() - start
        if status:
            errors.seek(0)
            shown = "".join(f"{line}\n" for _, line in lines) + errors.read()
            raise UserError(f"{shown}`{' '.join(words)}` failed.")
        memory, used = map(float, note.read_text().split())
    return Ran(seconds, used, memory / 1024, lines)


def rounded(value):
    """Every number in a tree of dictionaries to four digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
