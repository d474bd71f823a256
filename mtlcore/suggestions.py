"""The nearest valid name, for messages about a misspelt one."""

import difflib
from collections.abc import Iterable


def did_you_mean(found: object, valid: Iterable[object]) -> str:
    """Return ``"; did you mean 'x'?"`` for the valid name nearest to ``found``.

    Where nothing is near, the first ten valid names are listed instead.
    """
    names = [str(name) for name in valid]
    near = difflib.get_close_matches(str(found), names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"; valid: {listed}" if names else ""
