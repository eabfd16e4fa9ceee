"""The error that a person is meant to read."""

import errno
import re


class UserError(Exception):
    """Work can't go on, and the reader can change that. The message says what was wrong, where, and what to do next.

    `stage.run` and the tools print the message without a traceback and exit with status 1.
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
