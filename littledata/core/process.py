"""The process of a stage: how it begins, and how it ends before its work is done: by Ctrl-C, by SIGTERM, or because DVC, which
started it, is gone.

A stage without DVC would go on beside the same stage of the next run, and write into what that one writes. DVC forwards no
signal when it ends, so a thread looks for it, from before TensorFlow is imported.
"""

import contextlib
import os
import select
import signal
import threading
import time

import psutil

from littledata.core import environment

SECONDS_BETWEEN_LOOKS = 1
GRACE_SECONDS = 3  # for whoever tidies up after a signal
SIGNALS = {signal.SIGINT, signal.SIGTERM}
STARTED_BY_DVC = "DVC_STAGE"  # has the stage's name in the environment of what DVC starts for it
ORPHAN = "DVC, which started this, has ended: stopped. The same command goes on."

_stderr = 2  # where the last line goes, even while an import is kept quiet
_name = "the stage"
_interruptible = False  # whether KeyboardInterrupt ends the stage with its line: while modules are imported it is a traceback


def begin(name: str, module: str) -> None:
    """Make this process, which runs the stage `name` and nothing else, end within 5 s and with one line, and TensorFlow use as many
    threads as it may. It is the first line of a stage's script, whose `__name__` is `module`; a script that a test imports begins
    nothing."""
    global _stderr, _name
    if module != "__main__":
        return
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(environment.THREADS)  # whatever a process that started this one had
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _stderr, _name = os.dup(2), name
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as for a script's background jobs
            signal.signal(number, _on_signal)
    dvc = _dvc() if STARTED_BY_DVC in os.environ else None
    threading.Thread(target=_watch, args=(told, dvc), daemon=True).start()


def interruptible(tidies: bool) -> None:
    """Say whether a signal is to raise KeyboardInterrupt in the main thread, where somebody tidies up and says so."""
    global _interruptible
    _interruptible = tidies


def _on_signal(number: int, frame) -> None:
    if not _interruptible:
        _end("stopped.")
    raise KeyboardInterrupt


def _watch(told: int, dvc: psutil.Process | None) -> None:
    """Wait for a signal, or for DVC's end. The signal may find the main thread where it can't be interrupted for long."""
    came: set[int] = set()
    while not came & SIGNALS:  # others come here as well, such as that the terminal's size has changed
        if select.select([told], [], [], SECONDS_BETWEEN_LOOKS)[0]:
            came.update(os.read(told, 64))
        elif dvc and not _lives(dvc):
            _end(ORPHAN)
    time.sleep(GRACE_SECONDS)
    _end("stopped." if _interruptible else "")


def _end(line: str) -> None:
    """End at once, with all that this process started, and leave all files to whoever comes next."""
    os.write(_stderr, f"{_name}: {line}\n".encode() if line else b"")
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)


def _dvc() -> psutil.Process | None:
    """The process of DVC: the nearest above that DVC has not started itself, as it has a shell.

    DVC has this process's session. Whoever adopts a process whose parent has ended has another: then this one ends.
    """
    with contextlib.suppress(psutil.Error, OSError):  # of another user, or just ended: nothing can be said of it
        for process in psutil.Process().parents():
            if os.getsid(process.pid) != os.getsid(0):
                _end(ORPHAN)
            if process.environ().get(STARTED_BY_DVC) != os.environ[STARTED_BY_DVC]:
                return process
    return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
