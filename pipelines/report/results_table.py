"""The results table that `kindred run` prints at its end."""

from rich.markup import escape
from rich.table import Table

from mtlcore import ENOUGH_SEEDS
from pipelines.base.terminal import as_text
from pipelines.evaluate.results import Difference, Fusion, Results
from pipelines.report.units import difference_text, interval_text, score_text

MOST_CELLS = 8  # doubted cells of an edge that are listed below the table
_STYLES = {"better": "green", "worse": "red", "no clear difference": ""}


def results_table(results: Results) -> str:
    """Return task x arm: the mean over seeds, and the difference to the baseline with its interval, in points."""
    percent = round(100 * results.confidence)
    seeds = len(results.seeds)
    table = Table(
        title=f"{results.case}: {seeds} seed{'s' if seeds > 1 else ''}; difference to {results.baseline} "
        f"in points [{percent} % interval]",
        title_justify="left",
        caption=few_seeds(seeds),
        caption_justify="left",
    )
    table.add_column("task")
    table.add_column("metric")
    for arm in results.arms:
        table.add_column(arm, justify="right")
    for task in results.tested:
        of_task = results.of_task(task)
        first = next(iter(of_task.values()))
        cells = [
            f"{task} (auxiliary)" if task in results.auxiliary else task,
            first.primary_metric.replace("_", "-") + (" ↓" if first.lower_is_better else ""),
        ]
        for of_arm in results.arms.values():
            if task not in of_arm:
                cells.append("")
                continue
            metric = of_arm[task].primary_metric
            cell = f"{score_text(of_arm[task].mean(), metric)}{' (chance)' if of_arm[task].at_chance else ''}"
            if (d := of_arm[task].difference) is not None:
                cell += "\n" + _in_its_colour(d, f"{difference_text(d.value, metric)} {interval_text(d, metric)}")
            cells.append(cell)
        table.add_row(*cells, end_section=True)
    gains = []
    for arm, gain in results.delta_m.items():
        cell = f"{100 * gain:+.1f} %" if gain is not None else "-"
        if (d := results.delta_m_difference.get(arm)) is not None:
            cell += "\n" + _in_its_colour(d, interval_text(d, "delta_m"))
        gains.append(cell)
    table.add_row("Delta_m", "relative gain", *gains)
    lines = [
        *best_lines(results),
        *chance_lines(results),
        *unseen_lines(results),
        *early_lines(results),
        *trust_lines(results),
    ]
    return "\n".join([as_text(table), *lines])


def few_seeds(seeds: int) -> str | None:
    """Say what an interval from so few seeds is worth; None where there are enough."""
    if seeds == 1:
        return "with one seed an interval says nothing about other seeds"
    return f"{seeds} seeds make intervals wide; {ENOUGH_SEEDS} are enough" if seeds < ENOUGH_SEEDS else None


def best_lines(results: Results) -> list[str]:
    """Return a line an arm that co-trains: did it help, against the best of what needs no co-training?"""
    lines = []
    for arm, of_arm in results.arms.items():
        verdicts = []
        for task, result in of_arm.items():
            if (against := result.against_best) is None:
                continue
            d, metric = against.difference, result.primary_metric
            gain = f"{difference_text(d.value, metric)} {interval_text(d, metric)}"
            verdicts.append(f"{task} {gain} to {against.baseline}: {against.verdict}")
        if verdicts:
            lines.append(f"{arm} against the best without co-training: {'; '.join(verdicts)}")
    return lines


def chance_lines(results: Results) -> list[str]:
    """Return a line on the baselines that are no better than what looks at no input."""
    useless = [
        f"{arm} on {task}"
        for arm, of_arm in results.arms.items()
        for task, result in of_arm.items()
        if result.at_chance
    ]
    reason = "at chance, or no better than the most frequent class, so nothing is compared with it: "
    return [reason + ", ".join(useless)] if useless else []


def fusion_lines(results: Results) -> list[str]:
    """Return a line an arm and task: how it predicts through the tables."""
    return [
        f"{arm} predicts {task} by {_weights(fusion)} "
        f"({'by default' if fusion.chosen_on == 'default' else 'weights from the validation split, mean over seeds'})"
        for arm, of_arm in results.fusion.items()
        for task, fusion in of_arm.items()
    ]


def _weights(fusion: Fusion) -> str:
    head, table, table_alone = (sum(values) / len(values) for values in (fusion.head, fusion.table, fusion.alone))
    backwards = "the table read backwards"
    return f"{head:.2f} x its head + {table:.2f} x {backwards}" if head or table else f"{table_alone:.2f} x {backwards}"


def unseen_lines(results: Results) -> list[str]:
    """Return a line a task with classes without a labelled training input: how often each arm is right on them."""
    lines = []
    for task, classes in results.unseen_classes.items():
        by_arm = [
            f"{arm} {sum(recalls) / len(recalls):.3f}"
            for arm, of_arm in results.arms.items()
            if task in of_arm
            and (recalls := [share for share in of_arm[task].unseen_recall or () if share is not None])
        ]
        if by_arm:
            lines.append(
                f"{task}, {len(classes)} classes without a labelled training input, recall: {', '.join(by_arm)}"
            )
    return lines


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
        for edge, trust in edges.items():
            cells = f"; {len(trust.doubted)} cell{'s' * (len(trust.doubted) > 1)} doubted:" if trust.doubted else ""
            lines.append(f"{arm}: trust in {edge} {trust.mean():.2f}{'' if trust.weighed else ' (not weighed)'}{cells}")
            lines += [f"  {cell}" for cell in trust.doubted[:MOST_CELLS]]
            if len(trust.doubted) > MOST_CELLS:
                lines.append(f"  and {len(trust.doubted) - MOST_CELLS} more, see the report")
    return lines


def _in_its_colour(d: Difference, words: str) -> str:
    style = _STYLES[d.verdict]
    return f"[{style}]{escape(words)}[/]" if style else escape(words)
