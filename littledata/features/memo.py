"""Keep what was computed, one file a photo, so that another draw of the photos, or a few more of them, costs only what is new.

DVC's run cache knows a stage's result as a whole: with one photo more the stage starts from nothing. The memo knows single
photos. It lies outside the stage's outputs, changes none of their bytes, and may be deleted at any time.
"""

import contextlib
import hashlib
import io
import os
import platform
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from littledata.core import environment, files

MEMOS = environment.ROOT / ".cache/memo"
ABANDONED_SECONDS = 14 * 24 * 3600


def folder(*origin: object) -> Path:
    """Where arrays of an origin lie that this kind of processor has computed."""
    return MEMOS / hashlib.sha256(repr((platform.machine(), environment.instructions(), *origin)).encode()).hexdigest()[:16]


class Memo:
    """Arrays by name, float16.

    Parameters
    ----------
    origin : object
        All that every array depends on besides its name and the kind of processor: another origin is another memo.
    """

    def __init__(self, *origin: object) -> None:
        self.folder = folder(*origin)
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)
        files.remove_abandoned(self.folder)
        for other in MEMOS.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another run may be removing it as well
                if time.time() - other.stat().st_mtime > ABANDONED_SECONDS:  # nobody has asked for these for long
                    shutil.rmtree(other, ignore_errors=True)

    def get(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of this name, from its file or else computed, and kept. Threads and processes may ask at once."""
        path = self.folder / f"{name}.npz"
        try:
            with zipfile.ZipFile(path) as kept:  # read to its end, which compares its checksum, before NumPy believes its header
                return np.load(io.BytesIO(kept.read("array.npy")))
        except FileNotFoundError:
            pass
        except Exception as error:  # a spoilt zip has a dozen
            print(f"{path} is damaged ({type(error).__name__}): computed again", flush=True)
        array = compute().astype(np.float16)
        with files.whole(path) as file:
            np.savez(file, array=array)
        return array
