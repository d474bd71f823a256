"""One word for a name that there is none of."""

from collections.abc import Iterable

from mtlcore.suggestions import did_you_mean


def no_such(key: str, kind: str, name: str, valid: Iterable[str]) -> str:
    """Return the message for a name that there is none of, with the one that was likely meant."""
    return f"{key}: found {name!r}, no such {kind}{did_you_mean(name, valid)}"
