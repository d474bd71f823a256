"""UserError, the one exception for a user's mistake."""

_LONGEST = 500  # characters of what another library says


class UserError(Exception):
    """A mistake of the person who called: what, where, what was found, what would be right.

    The command line prints its message alone, without a traceback, and exits with 2.
    """


def one_line(error: BaseException) -> str:
    """Return what somebody else's exception says as part of a message: its kind and its words, on one line, cut."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST]
