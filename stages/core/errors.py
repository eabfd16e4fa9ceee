"""The error that a person is meant to read."""


class UserError(Exception):
    """Work can't go on, and its reader can change that: what was wrong, where, and what to do next.

    `stage.run` and the tools print it without a traceback and exit with status 1.
    """
