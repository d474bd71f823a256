"""The nearest valid name, for messages; the method is asked only when a message is made.

Importing anything of mtlcore imports torch: two seconds and 200 MB that a process
which decodes pictures can do without.
"""

from collections.abc import Iterable


def did_you_mean(found: object, valid: Iterable[object]) -> str:
    """Return mtlcore.suggestions's words for a misspelt name."""
    from mtlcore.suggestions import did_you_mean as nearest

    return nearest(found, valid)
