"""The error that a person is meant to read, and how a process ends with it."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Work can't go on, and the reader can change that. The message says what was wrong, where, and what to do next.

    `for_people` prints the message without a traceback and exits with status 1.
    """


def of_disk(error: OSError) -> str | None:
    """What a person should read where a disk takes no more, or nothing at all; None for any other error."""
    again = "run it again: what is done is not redone."
    # NumPy says this alone where a file did not take all of an array.
    if error.errno == errno.ENOSPC or re.fullmatch(r"\d+ requested and \d+ written", str(error)):
        return f"the disk is full. Free some space and {again}"
    if error.errno == errno.EDQUOT:
        return f"your share of the disk is used up (quota). Free some space and {again}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error.filename or 'a file'}: {error.strerror}. Make it accessible to this user, and {again}"
    return None


@contextmanager
def for_people(name: str = "", stopped: str = "Stopped.") -> Iterator[None]:
    """End the process with one line where a person can mend what is wrong, where the disk takes no more, and at Ctrl-C.

    The line begins with `name`; `stopped` is what it says of Ctrl-C. Any other error keeps its traceback.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt) as error:
        sys.exit(f"{name}{str(error) if isinstance(error, UserError) else stopped}")
    except OSError as error:
        if not (line := of_disk(error)):
            raise
        sys.exit(f"{name}{line}")
