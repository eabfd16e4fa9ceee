"""How every tool starts, and how it ends where something is wrong."""

import sys
from collections.abc import Callable

from littledata.core.errors import UserError, of_disk


def start(main: Callable[[], None], stopped: str = "Stopped.") -> None:
    """Run a tool: a user's mistake ends it with its message alone, Ctrl-C with `stopped`."""
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
    except OSError as error:
        if not (line := of_disk(error)):
            raise
        sys.exit(line)
    except KeyboardInterrupt:
        sys.exit(stopped)
    finally:
        sys.stdout.flush()  # in a log, what was printed stands before the message that ends it
