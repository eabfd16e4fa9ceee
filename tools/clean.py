"""Remove what the stages have written, and what downloads left. `make clean`

Files in git stay, so do DVC's cache, .venv and the choice of a source. Files that no stage declares stay as well, such as a
user's own photos in data/mine.
"""

import shutil
from pathlib import Path

from littledata.core import command, lockfile

CACHES = [f".cache/{name}" for name in ("canary", "copies", "downloads", "memo", "shards", "training")]
OTHERS = [*CACHES, ".pytest_cache", "dvc_plots", "report", "data/check.csv"]


def main() -> None:
    for path in map(Path, [*lockfile.outputs(), *OTHERS]):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    command.start(main)
