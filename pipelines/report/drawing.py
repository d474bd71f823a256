"""How figures look: colours of the page that they stand on, fonts, and SVG as text."""

import io
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

COLOURS = ("#6b7280", "#d97706", "#2563eb", "#059669", "#9333ea", "#dc2626", "#0891b2", "#4d7c0f")
# They stand for the page's own colours of text and of lines, which follow the reader's light or dark.
INK, LINE = "#010203", "#040506"
_ON_PAGE = {INK: "currentColor", LINE: "var(--line)", "'DejaVu Sans'": "'DejaVu Sans', Verdana, sans-serif"}
plt.rcParams.update(
    {
        "font.size": 10,
        "font.family": "DejaVu Sans",
        "text.parse_math": False,  # a label may hold a dollar sign
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": LINE,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",  # text, which can be searched and read aloud, and is half as large
        "svg.hashsalt": "kindred",  # the same figure gives the same bytes
        "figure.constrained_layout.use": True,
    }
)


def svg(figure: Figure) -> str:
    """Return a figure as SVG for a page, and close it."""
    buffer = io.StringIO()
    with warnings.catch_warnings():  # a browser has a font for what DejaVu Sans lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for drawn, on_page in _ON_PAGE.items():
        text = text.replace(drawn, on_page)
    return text
