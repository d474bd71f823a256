"""Terminal output: rich tables as text, coloured only on a terminal."""

import io

from rich.console import Console, RenderableType

from pipelines.base.encoding import is_unicode

_PLAIN = str.maketrans(dict.fromkeys("▏▎▍▌", "|") | dict.fromkeys("▋▊▉█", "#") | {"…": "~", "·": ".", "×": "x"})


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
    printed = text.getvalue().rstrip()
    return printed if is_unicode(terminal.encoding) else printed.translate(_PLAIN)
