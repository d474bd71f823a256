"""The table that `kindred run` ends with."""

from rich.markup import escape
from rich.table import Table

from mtlcore import ENOUGH_SEEDS
from pipelines.results import Difference, Results
from pipelines.terminal import as_text

_STYLES = {"better": "green", "worse": "red", "no clear difference": ""}


def results_table(results: Results) -> str:
    """Return task x arm: the mean over seeds, and the difference to the baseline with its interval, in points."""
    percent = round(100 * results.confidence)
    seeds = len(results.seeds)
    table = Table(
        title=f"{results.case}: {seeds} seed{'s' if seeds > 1 else ''}; difference to {results.baseline} "
        f"in points [{percent} % interval]",
        title_justify="left",
        caption=f"with fewer than {ENOUGH_SEEDS} seeds an interval says little about other seeds"
        if seeds < ENOUGH_SEEDS
        else None,
        caption_justify="left",
    )
    table.add_column("task")
    table.add_column("metric")
    for arm in results.arms:
        table.add_column(arm, justify="right")
    for task, of_baseline in results.arms[results.baseline].items():
        cells = [task, of_baseline.primary_metric.replace("_", "-")]
        for of_arm in results.arms.values():
            cell = f"{of_arm[task].mean():.3f}"
            if (d := of_arm[task].difference) is not None:
                cell += "\n" + _in_its_colour(d, f"{100 * d.value:+.1f} {_interval(d)}")
            cells.append(cell)
        table.add_row(*cells, end_section=True)
    gains = []
    for arm, gain in results.delta_m.items():
        cell = f"{100 * gain:+.1f} %" if gain is not None else "-"
        if (d := results.delta_m_difference.get(arm)) is not None:
            cell += "\n" + _in_its_colour(d, _interval(d))
        gains.append(cell)
    table.add_row("Delta_m", "relative gain", *gains)
    return as_text(table)


def _interval(d: Difference) -> str:
    return f"[{100 * d.low:+.1f}, {100 * d.high:+.1f}]"


def _in_its_colour(d: Difference, words: str) -> str:
    style = _STYLES[d.verdict]
    return f"[{style}]{escape(words)}[/]" if style else escape(words)
