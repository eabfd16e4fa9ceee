"""`dvc exp run` as the tools start it."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from littledata.core import params
from littledata.core.errors import UserError


def value(settings: Mapping, name: str) -> object:
    """A param by its dotted name; UserError where params.yaml has none."""
    try:
        return params.value(settings, name)
    except KeyError:
        raise UserError(f"{params.PARAMS} has no {name}.") from None


def run(changes: Mapping[str, object], more: Sequence[str] = (), *options: str) -> int:
    """Run an experiment with changed params; returns DVC's exit status.

    Parameters
    ----------
    changes : mapping of a param's dotted name to its value
        As `-S` takes it. Text that isn't a plain word goes through `quoted`.
    more : sequence of str
        Further changes, written `name=value` by the user.
    options : str
        Further words of `dvc exp run`.
    """
    words = [f"{name}={value}" for name, value in changes.items()] + list(more)
    command = ["dvc", "exp", "run", *options, *(word for change in words for word in ("-S", change))]
    print("$ " + shlex.join(command), flush=True)
    process = subprocess.Popen([sys.executable, "-m", *command], env=environment())
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C has reached DVC as well; `subprocess.run` would kill it before it has put HEAD back
        raise


@contextlib.contextmanager
def workspace_as_it_was() -> Iterator[Callable[..., int]]:
    """End where the workspace began, whatever happens: its own params, their results from the cache. Yields `run` for
    experiments that each start from these params, not from those that the one before left."""
    own = params.PARAMS.read_bytes()

    def run_from_own(changes: Mapping[str, object], more: Sequence[str] = (), *options: str) -> int:
        params.PARAMS.write_bytes(own)
        return run(changes, more, *options)

    try:
        yield run_from_own
    finally:
        if status := run_from_own({}):
            sys.exit(status)


def environment() -> dict[str, str]:
    """What DVC needs around it: this Python first on the path, and a name for Git where nobody set one."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if subprocess.run(["git", "config", "user.email"], capture_output=True).returncode:
        # DVC stashes the workspace with Git's own machinery, which wants a name even if nobody ever sees it.
        nobody = {"NAME": "dvc", "EMAIL": "dvc@localhost"}
        environment |= {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in nobody.items()}
    return environment


def quoted(text: str) -> str:
    """Text as `-S` takes it whatever it holds: Hydra's grammar wants all but plain words in quotes, and a backslash
    before each quote inside, and before each backslash that stands in front of a quote."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + (r"\'" if found[2] else ""), text)
    return f"'{escaped}'"
