"""Terminals that are not UTF-8."""

import io
import sys


def accept_any_encoding() -> None:
    """Let the terminal show a question mark for what its encoding does not have: no name of a class ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not is_unicode(stream.encoding):
            stream.reconfigure(errors="replace")


def is_unicode(encoding: str | None) -> bool:
    """Say whether an encoding has every character."""
    return (encoding or "utf-8").lower().startswith("utf")
