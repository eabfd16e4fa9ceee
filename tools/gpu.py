"""Install what TensorFlow needs for a GPU, where there is one and it is not there yet. `make repro` begins with it.

    python -m tools.gpu

`make repro GPU=0` hides the device: nothing is installed, and the processor computes.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from littledata.core import command
from littledata.core.errors import UserError
from littledata.features import gpu
from littledata.photos import fetch

PACKAGES = "requirements/gpu.txt"
DOWNLOAD, INSTALLED = 2_500_000_000, 5_000_000_000  # bytes, about
LEAVE = "`make repro GPU=0` leaves it, and computes on the processor."


def main() -> None:
    if not gpu.devices() or not gpu.missing():
        return
    needed = f"{DOWNLOAD / 1e9} GB are downloaded for it, {INSTALLED / 1e9:.0f} GB on disk"
    print(f"An NVIDIA device without CUDA: {needed}. {LEAVE}", flush=True)  # before what pip says, in a log as well
    try:
        for folder, size in (tempfile.gettempdir(), DOWNLOAD), (sys.prefix, INSTALLED):
            fetch.check_space(Path(folder), size)
    except UserError as error:
        raise UserError(f"CUDA {error} {LEAVE}") from None
    if subprocess.run([sys.executable, "tools/install.py", PACKAGES]).returncode:
        raise UserError(f"CUDA could not be installed. {LEAVE}")


if __name__ == "__main__":
    command.start(main)
