"""Run a command of this project as a process of its own, and measure it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from littledata.core.errors import UserError
from littledata.photos import sources
from tools import experiment


class Ran(NamedTuple):
    """What a command took; its lines, each with the seconds after which it was printed."""

    seconds: float
    lines: list[tuple[float, str]]


def run(*words: str, folder: Path = Path(), env: Mapping | None = None, show: bool = False) -> Ran:
    """Run a module of this Python in a folder, with some more environment; UserError where it fails.

    With `show` it prints where this process does; else what it prints is kept, and shown where it fails.
    """
    archive = sources.by_hand()  # a path that may be relative to this folder
    by_hand = {sources.ARCHIVE_VARIABLE: str(archive.absolute())} if archive else {}
    env = experiment.environment() | {"DVC_ROOT": ""} | by_hand | dict(env or {})
    with tempfile.TemporaryFile("w+") as errors:
        out, err = (None, None) if show else (subprocess.PIPE, errors)
        command, start, lines = [sys.executable, "-m", *words], time.perf_counter(), []
        streams: dict[str, Any] = {"stdout": out, "stderr": err}
        with subprocess.Popen(command, cwd=folder, env=env, text=True, start_new_session=True, **streams) as process:
            try:
                for line in process.stdout or ():
                    lines.append((time.perf_counter() - start, line.rstrip("\n")))
                status = process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # it would go on alone
                raise
        seconds = time.perf_counter() - start
        if status:
            errors.seek(0)
            shown = "".join(f"{line}\n" for _, line in lines) + errors.read()
            raise UserError(f"{shown}`{' '.join(words)}` failed.")
    return Ran(seconds, lines)


def rounded(value):
    """Every number in a tree of dictionaries to four digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
