"""UserError, the one exception for a user's mistake."""


class UserError(Exception):
    """A mistake of the person who called: what, where, what was found, what would be right.

    The command line prints its message alone, without a traceback, and exits with 2.
    """
