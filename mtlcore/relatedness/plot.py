"""A relatedness table as text and as a heat map."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from torch import Tensor

from mtlcore.relatedness.fonts import font_families

_MOST_WRITTEN = 400  # cells that carry their number


def heat_map(table: Tensor, rows: Sequence[str], columns: Sequence[str], title: str) -> Any:
    """Draw a table of probabilities; unknown cells are grey, and small tables carry their numbers.

    Args:
        table: floating point, shape (rows, columns), in [0, 1]; NaN is unknown.
        rows: the names of the rows.
        columns: the names of the columns.
        title: above the table.

    Returns:
        a ``matplotlib.figure.Figure`` of its own, unknown to pyplot.
    """
    from matplotlib.figure import Figure  # only who draws needs matplotlib

    R = table.detach().cpu().numpy()
    longest_row, longest_column = (max(map(len, names)) for names in (rows, columns))
    height = max(2.2, min(1.0 + 0.28 * len(rows) + 0.075 * longest_column, 40))
    figure = Figure(figsize=(min(2.2 + 0.42 * len(columns) + 0.075 * longest_row, 60), height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=False)
    axes.set_facecolor("#d1d5db")
    image = axes.imshow(R, cmap="Blues", vmin=0, vmax=1, aspect="auto")  # NaN is not drawn
    small: dict[str, Any] = {"fontsize": 8 if max(len(rows), len(columns)) <= 40 else 5, "parse_math": False}
    families = font_families([*rows, *columns, title])
    small |= {"family": families}
    axes.set_yticks(range(len(rows)), rows, **small)
    axes.set_xticks(range(len(columns)), columns, rotation=90, **small)
    if R.size <= _MOST_WRITTEN:
        for i in range(len(rows)):
            for j in range(len(columns)):
                value = float(R[i, j])
                ink = "white" if value > 0.6 else "#374151"
                axes.text(j, i, cell_text(value), ha="center", va="center", fontsize=7, color=ink)
    axes.set_title(title, parse_math=False, family=families)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def cell_text(value: float) -> str:
    """Return a cell as text: ``?`` where unknown, two decimals unless it is 0 or 1 exactly."""
    if math.isnan(value):
        return "?"
    return f"{value:g}" if value in (0.0, 1.0) else f"{value:.2f}"


def html_table(table: Tensor, rows: Sequence[str], columns: Sequence[str], title: str, most: int = 40) -> str:
    """Return a table of probabilities as HTML, cells coloured by their value.

    Args:
        table: floating point, shape (rows, columns), in [0, 1]; NaN is unknown.
        rows: the names of the rows.
        columns: the names of the columns.
        title: above the table.
        most: rows, and columns, that are shown; how many are left out is said.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns[:most])
    body = []
    for name, values in zip(rows[:most], table.tolist(), strict=False):
        shades = [0 if math.isnan(value) else value / 2 for value in values[:most]]
        cells = "".join(
            f"<td style='background:rgba(37,99,235,{shade:.2f})'>{cell_text(value)}</td>"
            for shade, value in zip(shades, values, strict=False)
        )
        body.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    more = max(len(rows) - most, 0), max(len(columns) - most, 0)
    left_out = f"; {more[0]} more rows, {more[1]} more columns" if max(more) else ""
    caption = f"<caption>{escape(title)}{left_out}</caption>"
    return f"<table>{caption}<tr><th></th>{head}</tr>{''.join(body)}</table>"
