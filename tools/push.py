"""Give the team what was computed here: every output, and what the run cache needs to find them again. `make push`

    python -m tools.push

`dvc push --run-cache` brings the run cache's entries, but of the files that they name only those that a commit has, and
none with `cache: false`, such as a learning curve: a colleague's run would find the entry, miss a file and compute
again. This pushes those files as well; `dvc repro --pull` and `dvc exp run --pull` find them.
"""

import subprocess
import sys
from pathlib import Path

from dvc.repo import Repo

from littledata.core import command


def main() -> None:
    if status := subprocess.run([sys.executable, "-m", "dvc", "push", "--run-cache"]).returncode:
        sys.exit(status)
    with Repo() as repo, repo.lock:
        runs = [path for path in Path(repo.stage_cache.cache_dir).rglob("*") if path.is_file()]
        used = repo.stage_cache.get_used_objs([(path.parent.name, path.name) for path in runs])
        results = [repo.cloud.push(objects) for objects in used.values()]
    if failed := sum(len(result.failed) for result in results):
        sys.exit(f"{failed} files of runs that no commit has could not be pushed: try again.")
    print(f"and {sum(len(result.transferred) for result in results)} files of runs that no commit has")


if __name__ == "__main__":
    command.start(main)
