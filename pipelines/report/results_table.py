"""The results table that `kindred run` prints at its end."""

from rich.markup import escape
from rich.table import Table

from mtlcore import ENOUGH_SEEDS
from pipelines.base.terminal import as_text
from pipelines.evaluate.results import Difference, Results

MOST_CELLS = 8  # doubted cells of an edge that are told below the table
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
        cells = [
            f"{task} (auxiliary)" if task in results.auxiliary else task,
            of_baseline.primary_metric.replace("_", "-"),
        ]
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
    return "\n".join([as_text(table), *early_lines(results), *trust_lines(results)])


def early_lines(results: Results) -> list[str]:
    """Return a line on the runs that stopped early: arms then differ in their updates too."""
    early = [timing.steps for timing in results.timings if timing.steps is not None and timing.steps < results.steps]
    if not early:
        return []
    of_all = f"{len(early)} of {len(results.timings)} runs"
    return [f"{of_all} stopped early, after {min(early)} updates at the least, and {results.steps} were planned"]


def trust_lines(results: Results) -> list[str]:
    """Return a line an arm and edge: how far the data bear out its table; and a line for each cell that they doubt."""
    lines = []
    for arm, edges in results.trust.items():
        for edge, of in edges.items():
            cells = f"; {len(of.doubted)} cell{'s' * (len(of.doubted) > 1)} doubted:" if of.doubted else ""
            lines.append(f"{arm}: trust in {edge} {of.mean():.2f}{'' if of.weighed else ' (not weighed)'}{cells}")
            lines += [f"  {cell}" for cell in of.doubted[:MOST_CELLS]]
            if len(of.doubted) > MOST_CELLS:
                lines.append(f"  and {len(of.doubted) - MOST_CELLS} more, see the report")
    return lines


def _interval(d: Difference) -> str:
    return f"[{100 * d.low:+.1f}, {100 * d.high:+.1f}]"


def _in_its_colour(d: Difference, words: str) -> str:
    style = _STYLES[d.verdict]
    return f"[{style}]{escape(words)}[/]" if style else escape(words)
