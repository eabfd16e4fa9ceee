"""How every tool starts, and how it ends where something is wrong."""

import sys
from collections.abc import Callable

from littledata.core.errors import for_people


def start(main: Callable[[], None], stopped: str = "Stopped.") -> None:
    """Run a tool: a user's mistake ends it with its message alone, Ctrl-C with `stopped`."""
    try:
        with for_people(stopped=stopped):
            main()
    finally:
        sys.stdout.flush()  # in a log, what was printed stands before the message that ends it
