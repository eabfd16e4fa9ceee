"""The error that a person is meant to read."""


class UserError(Exception):
    """Work can't go on, and the reader can change that. The message says what was wrong, where, and what to do next.

    `stage.run` and the tools print the message without a traceback and exit with status 1.
    """
