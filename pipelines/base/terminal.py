"""Terminal output: rich tables as text, coloured only on a terminal."""

import io
import re

from rich.console import Console, RenderableType

from pipelines.base.encoding import is_unicode, shown

_PLAIN = str.maketrans(dict.fromkeys("▏▎▍▌", "|") | dict.fromkeys("▋▊▉█", "#") | {"…": "~", "·": ".", "×": "x"})


# What rich itself writes is colours alone; names of files and cells of tables may hold more.
_MOVING = re.compile(r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class _Text(io.StringIO):
    """Text for a terminal of some encoding, by which rich chooses its boxes."""

    encoding: str = "utf-8"  # type: ignore[assignment]


def as_text(*renderables: RenderableType, width: int = 200) -> str:
    """Return tables and text as the terminal shows them; where there is none, plain and ``width`` characters wide."""
    terminal = Console()
    text = _Text()
    text.encoding = terminal.encoding
    console = Console(
        file=text, force_terminal=terminal.is_terminal, width=terminal.width if terminal.is_terminal else width
    )
    for renderable in renderables:
        console.print(renderable)
    printed = _MOVING.sub(lambda one: shown(one[0]), text.getvalue().rstrip())
    printed = printed if terminal.is_terminal else shown(printed)
    return printed if is_unicode(terminal.encoding) else printed.translate(_PLAIN)
