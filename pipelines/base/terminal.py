"""Terminal output: rich tables as text, coloured only on a terminal."""

import io

from rich.console import Console, RenderableType

from pipelines.base.encoding import is_unicode

_PLAIN = str.maketrans(dict.fromkeys("▏▎▍▌", "|") | dict.fromkeys("▋▊▉█", "#") | {"…": "~", "·": ".", "×": "x"})


class _Text(io.StringIO):
    """Text for a terminal of some encoding, by which rich chooses its boxes."""

    encoding: str = "utf-8"  # type: ignore[assignment]


def as_text(*what: RenderableType, width: int = 200) -> str:
    """Return tables and text as the terminal shows them; where there is none, plain and ``width`` characters wide."""
    real = Console()
    text = _Text()
    text.encoding = real.encoding
    console = Console(file=text, force_terminal=real.is_terminal, width=real.width if real.is_terminal else width)
    for one in what:
        console.print(one)
    found = text.getvalue().rstrip()
    return found if is_unicode(real.encoding) else found.translate(_PLAIN)
