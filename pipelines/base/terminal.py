"""Terminal output: rich tables as text, coloured only on a terminal."""

import io

from rich.console import Console, RenderableType


def as_text(*what: RenderableType, width: int = 200) -> str:
    """Return tables and text as the terminal shows them; where there is none, plain and ``width`` characters wide."""
    real = Console()
    console = Console(
        file=io.StringIO(), force_terminal=real.is_terminal, width=real.width if real.is_terminal else width
    )
    for renderable in what:
        console.print(renderable)
    return str(console.file.getvalue()).rstrip()  # type: ignore[attr-defined]
