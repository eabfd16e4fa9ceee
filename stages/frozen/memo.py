"""Keep what was computed, one file a photo, so that another draw of the photos, or a few more of them, costs only what is new.

DVC's run cache knows a stage's result as a whole: with one photo more the stage starts from nothing. The memo knows single
photos. It lies outside the stage's outputs, changes none of their bytes, and may be deleted at any time.
"""

import contextlib
import hashlib
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.core import environment

MEMOS = environment.ROOT / ".cache/memo"
ABANDONED_SECONDS = 14 * 24 * 3600


def folder(*origin: object) -> Path:
    """Where arrays of an origin lie."""
    return MEMOS / hashlib.sha256(repr(origin).encode()).hexdigest()[:16]


class Memo:
    """Arrays by name, float16.

    Parameters
    ----------
    origin : object
        All that every array depends on besides its name: another origin is another memo.
    """

    def __init__(self, *origin: object) -> None:
        self.folder = folder(*origin)
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)
        for other in MEMOS.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another run may be removing it as well
                if time.time() - other.stat().st_mtime > ABANDONED_SECONDS:  # nobody has asked for these for long
                    shutil.rmtree(other, ignore_errors=True)

    def get(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this name, from its file or else computed, and kept. Threads and processes may ask at once."""
        path = self.folder / f"{name}.npz"
        # The zip's own checksum tells an array from one that a crash or a disk has spoilt.
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as kept:
            return kept["array"]
        array = compute().astype(np.float16)
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        with open(part, "wb") as file:
            np.savez(file, array=array)
        os.replace(part, path)
        return array
