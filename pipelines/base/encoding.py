"""Terminals that are not UTF-8."""

import io
import sys


def accept_any_encoding() -> None:
    """Let the terminal show a question mark for what its encoding does not have: no name of a class ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not is_unicode(stream.encoding):
            stream.reconfigure(errors="replace")


def shown(text: str) -> str:
    """Return text as it may be printed: names of files and cells of tables may hold what moves a terminal's cursor,
    changes its colours, or turns the direction of what is read. Line feeds and tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def is_unicode(encoding: str | None) -> bool:
    """Say whether an encoding has every character."""
    return (encoding or "utf-8").lower().startswith("utf")
