"""DVC as the tools start it."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable


def dvc(*words: str) -> int:
    """Run a DVC command, which is printed; returns its exit status."""
    print("$ " + shlex.join(["dvc", *words]), flush=True)
    process = subprocess.Popen([sys.executable, "-m", "dvc", *words], env=environment())
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C has reached DVC as well; `subprocess.run` would kill it before it has put HEAD back
        raise


def run(changes: Iterable[str], *options: str) -> int:
    """Run an experiment with params changed by `name=value`, as `-S` takes it; returns DVC's exit status."""
    return dvc("exp", "run", *options, *(word for change in changes for word in ("-S", change)))


def environment() -> dict[str, str]:
    """What DVC needs around it: this Python first on the path, and a name for Git where nobody set one."""
    environment = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    if subprocess.run(["git", "config", "user.email"], capture_output=True).returncode:
        # DVC stashes the workspace with Git's own machinery, which wants a name even if nobody ever sees it.
        nobody = {"NAME": "dvc", "EMAIL": "dvc@localhost"}
        environment |= {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in nobody.items()}
    return environment
