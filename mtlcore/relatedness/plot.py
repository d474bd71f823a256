"""A relatedness table as a heat map."""

from importlib import import_module
from typing import Any

from mtlcore.relatedness.relatedness import Relatedness, shown

_MOST_WRITTEN = 400  # cells that carry their number


def relatedness_plot(relatedness: Relatedness) -> Any:
    """Draw R, a row a class or label of A; unknown cells are grey, and small tables carry their numbers.

    Returns:
        a ``matplotlib.figure.Figure`` of its own, unknown to pyplot.
    """
    figure_module = import_module("matplotlib.figure")  # not on the import path of mtlcore
    R = relatedness.table.detach().cpu().numpy()
    rows, columns = relatedness.source.outputs, relatedness.target.outputs
    longest_row, longest_column = (max(map(len, names)) for names in (rows, columns))
    height = max(2.2, min(1.0 + 0.28 * len(rows) + 0.075 * longest_column, 40))
    figure = figure_module.Figure(
        figsize=(min(2.2 + 0.42 * len(columns) + 0.075 * longest_row, 60), height), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.grid(visible=False)
    axes.set_facecolor("#d1d5db")
    image = axes.imshow(R, cmap="Blues", vmin=0, vmax=1, aspect="auto")  # NaN is not drawn
    small = {"fontsize": 8 if max(len(rows), len(columns)) <= 40 else 5, "parse_math": False}
    axes.set_yticks(range(len(rows)), rows, **small)
    axes.set_xticks(range(len(columns)), columns, rotation=90, **small)
    if R.size <= _MOST_WRITTEN:
        for i in range(len(rows)):
            for j in range(len(columns)):
                value = float(R[i, j])
                ink = "white" if value > 0.6 else "#374151"
                axes.text(j, i, shown(value), ha="center", va="center", fontsize=7, color=ink)
    title = f"P({relatedness.target.name} | {relatedness.source.name})"
    axes.set_title(title, parse_math=False)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure
