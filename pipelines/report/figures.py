"""The report's figures as SVG text. Every arm keeps its colour throughout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.evaluate.results import Confusion, DataSetSummary, PairSeen, TaskResult
from pipelines.report.drawing import COLOURS, INK, svg
from pipelines.report.units import has_unit, score_text

_MOST_IN_A_MATRIX = 60  # rows or columns: more of them nobody can read, and drawing takes minutes
MOST_CLASSES_DRAWN = 30  # of a confusion; of more, the page lists those that are confused most


def colours(arms: Sequence[str]) -> dict[str, str]:
    """Give every arm a colour."""
    return {arm: COLOURS[i % len(COLOURS)] for i, arm in enumerate(arms)}


def _grid(n: int, colour: Mapping[str, str], height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with n places, at most three beside each other and each that high, and a legend of the arms."""
    columns = min(3, n)
    rows = -(-n // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(max(3.2 * columns, 4.6), height * rows), squeeze=False)
    places = list(grid.flat)
    for spare in places[n:]:
        spare.set_visible(False)
    handles = [plt.Line2D([], [], color=of_arm, label=arm) for arm, of_arm in colour.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure, places[:n]


def score_figure(task: str, results: Mapping[str, TaskResult], baseline: str) -> str:
    """Draw a task's score by arm, a dot a seed, and beside it each difference to the baseline with its interval.

    The axis is as wide as the scores are, so that a point is seen where all are near 0.9.
    """
    arms = list(results)
    colour = colours(arms)
    metric = results[arms[0]].primary_metric
    scale = 1 if has_unit(metric) else 100
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.5 * len(arms) + 1.3), sharey=True)
    every: list[float] = []
    for i, arm in enumerate(arms):
        values = [value for value in results[arm].metrics[metric] if value is not None]
        every += values
        left.plot(values, [i] * len(values), "o", color=colour[arm], markersize=5, alpha=0.55, markeredgewidth=0)
        left.plot([results[arm].mean()] * 2, [i - 0.3, i + 0.3], color=colour[arm], linewidth=2.5)
        if (difference := results[arm].difference) is not None:
            value, low, high = (scale * end for end in (difference.value, difference.low, difference.high))
            errors = [[max(value - low, 0)], [max(high - value, 0)]]
            right.errorbar(value, i, xerr=errors, fmt="o", color=colour[arm], capsize=4)
    left.set(yticks=range(len(arms)), yticklabels=arms, title=f"{task}: {_metric(results[arms[0]])}, a dot a seed")
    left.set_xlim(*_range_of(every))
    left.set_ylim(len(arms) - 0.5, -0.5)
    for i, arm in enumerate(arms):
        left.annotate(
            score_text(results[arm].mean(), metric),
            (1.01, i),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
        )
    right.axvline(0, color=INK, linewidth=1)
    right.set_title(f"difference to {baseline}, {'in its unit' if has_unit(metric) else 'points'}")
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    return svg(figure)


def _range_of(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis that the values fill, within 0 and 1 where they are."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.005)
    return max(low - room, 0.0) if low >= 0 else low - room, min(high + room, 1.0) if high <= 1 else high + room


def _metric(result: TaskResult) -> str:
    return result.primary_metric.replace("_", "-") + (" (lower is better)" if result.lower_is_better else "")


def loss_figure(curves: Mapping[str, Sequence[np.ndarray]], window: int, colour: Mapping[str, str]) -> str:
    """Draw the training loss by network, one faint line per seed and a strong one for their mean.

    Args:
        curves: by arm and part, ``arm: part``; for each seed float64 (steps,).
        window: over how many steps a point averages.
        colour: of every arm.
    """
    parts = sorted({name.split(": ", 1)[1] for name in curves}, key=lambda part: (part != "loss", ":" in part, part))
    arms = list(dict.fromkeys(name.split(": ", 1)[0] for name in curves))
    colour = {arm: colour[arm] for arm in arms}
    figure, grid = _grid(len(parts), colour, height=2.5)
    for axes, part in zip(grid, parts, strict=True):
        for arm in arms:
            seeds = [_averaged(values, window) for values in curves.get(f"{arm}: {part}", ())]
            if not seeds:
                continue
            x = (np.arange(max(map(len, seeds))) + 0.5) * window
            for values in seeds:
                axes.plot(x[: len(values)], values, color=colour[arm], alpha=0.2, linewidth=0.8)
            mean = _mean_of_all(seeds)
            axes.plot(x[: len(mean)], mean, color=colour[arm], linewidth=1.8, label=arm)
        axes.set_title(part)
        axes.set_xlabel("step")
        if axes.get_ylim()[0] > 0:  # a Gaussian likelihood may be negative
            axes.set_ylim(bottom=0)
    return svg(figure)


@dataclass(frozen=True)
class ValidationCurve:
    """One run's validations of one task.

    Attributes:
        steps: int64 (validations,).
        values: of the primary metric, float64 (validations,); NaN where it is not defined.
        best_step: the step whose weights are the run's; None where those after the last step are.
    """

    steps: np.ndarray
    values: np.ndarray
    best_step: int | None


def validation_figure(
    curves: Mapping[str, Mapping[str, Sequence[ValidationCurve]]], metrics: Mapping[str, str], colour: Mapping[str, str]
) -> str:
    """Draw the validations by task: faint lines are seeds, the strong one their mean, the dot the chosen weights.

    Args:
        curves: by task and arm, one per seed.
        metrics: the primary metric by task.
        colour: of every arm.
    """
    arms = list(dict.fromkeys(arm for of_task in curves.values() for arm in of_task))
    colour = {arm: colour[arm] for arm in arms}
    figure, grid = _grid(len(curves), colour, height=2.7)
    for axes, (task, of_task) in zip(grid, curves.items(), strict=True):
        for arm, seeds in of_task.items():
            for curve in seeds:
                axes.plot(curve.steps, curve.values, color=colour[arm], alpha=0.25, linewidth=0.8)
                if curve.best_step is not None:
                    is_best = curve.steps == curve.best_step
                    axes.plot(curve.steps[is_best], curve.values[is_best], "o", color=colour[arm], markersize=3.5)
            mean = _mean_of_all([curve.values for curve in seeds])
            longest = max(seeds, key=lambda curve: len(curve.steps)).steps
            axes.plot(longest[: len(mean)], mean, color=colour[arm], linewidth=1.8)
        axes.set(title=f"{task}: {metrics[task].replace('_', '-')}", xlabel="step")
        axes.set_xlim(left=0)
    return svg(figure)


def learning_rate_figure(rates: Sequence[float]) -> str:
    """Draw the learning rate of every step."""
    figure, axes = plt.subplots(figsize=(4.6, 1.9))
    axes.plot(np.arange(len(rates)), rates, color=COLOURS[2], linewidth=1.8)
    axes.set(title="learning rate", xlabel="step")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    return svg(figure)


def _mean_of_all(seeds: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean over seeds as far as all go: one that stopped early would make a step in it."""
    shortest = min(map(len, seeds))
    return np.asarray(np.mean([values[:shortest] for values in seeds], axis=0))


def _averaged(values: np.ndarray, window: int) -> np.ndarray:
    length = max(1, len(values) // window) * window
    return np.asarray(values[:length].reshape(-1, min(window, len(values))).mean(axis=1))


def relatedness_figure(
    source: str,
    target: str,
    rows: Sequence[str],
    columns: Sequence[str],
    R: np.ndarray,
    doubted: Sequence[tuple[str, str]] = (),
) -> str:
    """Draw a relatedness table; unknown cells are hatched, the ``doubted`` ones, by row and column, framed in red.

    Of many rows or columns, those with most in them are drawn.
    """
    rows, columns, R, left_out = _largest(rows, columns, R)
    figure, axes = plt.subplots(figsize=(1.6 + 0.42 * len(columns), 1.6 + 0.3 * len(rows)))
    axes.grid(visible=False)
    axes.set_facecolor("#f3f4f6")
    image = axes.imshow(np.ma.masked_invalid(R), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _name_axes(axes, rows, columns)
    if len(rows) * len(columns) <= 300 and not np.isin(R[~np.isnan(R)], (0.0, 1.0)).all():
        for i, j in np.argwhere(~np.isnan(R)):
            ink = "white" if R[i, j] > 0.6 else "#374151"
            axes.text(j, i, f"{R[i, j]:.2g}", ha="center", va="center", fontsize=7, color=ink)
    for row, column in doubted:
        if row not in rows or column not in columns:  # left out
            continue
        corner = columns.index(column) - 0.5, rows.index(row) - 0.5
        axes.add_patch(plt.Rectangle(corner, 1, 1, fill=False, edgecolor="#dc2626", linewidth=1.6))
    axes.set(title=f"P({target} | {source}){left_out}", xlabel=target, ylabel=source)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return svg(figure)


def _largest(
    rows: Sequence[str], columns: Sequence[str], R: np.ndarray
) -> tuple[Sequence[str], Sequence[str], np.ndarray, str]:
    """Keep as many rows and columns of a table as one can read, in their order: those of the largest sums."""
    if max(len(rows), len(columns)) <= _MOST_IN_A_MATRIX:
        return rows, columns, R, ""
    known_cells = np.nan_to_num(R)
    indices = [
        np.sort(np.argsort(-known_cells.sum(axis=1 - axis), kind="stable")[:_MOST_IN_A_MATRIX]) for axis in (0, 1)
    ]
    words = f", {len(indices[0])} of {len(rows):,} rows and {len(indices[1])} of {len(columns):,} columns"
    return [rows[i] for i in indices[0]], [columns[j] for j in indices[1]], R[np.ix_(*indices)], words


def confusion_figure(confusion: Confusion, classes: Sequence[str], arms: Sequence[str]) -> str:
    """Draw a task's confusion for some arms side by side: shares of each true class."""
    size = 1.4 + 0.28 * len(classes)
    figure, grid = plt.subplots(1, len(arms), figsize=(size * len(arms) + 0.8, size + 0.4), squeeze=False)
    for axes, arm in zip(grid[0], arms, strict=True):
        counts = np.zeros((len(classes), len(classes)))
        for true, predicted, n in confusion.counts[arm]:
            counts[true, predicted] = n
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        _name_axes(axes, classes, classes)
        axes.set(title=arm, xlabel="predicted", ylabel="true")
        if len(classes) <= 12:
            for i, j in np.ndindex(*shares.shape):
                if shares[i, j] >= 0.005:
                    ink = "white" if shares[i, j] > 0.6 else "#374151"
                    axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", fontsize=7, color=ink)
    figure.colorbar(image, ax=grid[0].tolist(), shrink=0.8, label="share of the true class")
    return svg(figure)


def agreement_figure(measured: Mapping[str, Sequence[PairSeen]], arms: Sequence[str]) -> str:
    """Draw gradient agreement by step, one panel per pair of tasks: faint lines are seeds, the strong one their mean.

    Of many tasks the twelve pairs that agree or conflict most are drawn.
    """
    colour = colours(arms)
    strength: dict[tuple[str, str], float] = {}
    for pair in (pair for pairs in measured.values() for pair in pairs):
        values = np.abs(np.array(pair.mean("gradient_agreement"), dtype=float))
        mean = float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else 0.0
        strength[pair.a, pair.b] = max(strength.get((pair.a, pair.b), 0.0), mean)
    strongest = sorted(strength, key=lambda names: -strength[names])[:12]
    shown = [names for names in strength if names in strongest]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(max(4.6, 3.2 * columns), 2.6 * rows), squeeze=False, sharey=True
    )
    for axes, names in zip(grid.flat, shown, strict=False):
        axes.axhline(0, color=INK, linewidth=1)
        for arm, pair in (
            (arm, pair) for arm, pairs in measured.items() for pair in pairs if (pair.a, pair.b) == names
        ):
            for values in pair.gradient_agreement:
                axes.plot(pair.steps, np.array(values, dtype=float), color=colour[arm], alpha=0.25, linewidth=0.8)
            axes.plot(pair.steps, pair.mean("gradient_agreement"), "o-", color=colour[arm], markersize=3, linewidth=1.8)
        axes.set(title=" · ".join(names), xlabel="step")
    for axes in grid[:, 0]:
        axes.set_ylabel("cosine of the gradients")
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    handles = [plt.Line2D([], [], color=colour[arm], label=arm) for arm in measured]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(measured), frameon=False)
    return svg(figure)


def sharing_figure(measured: Mapping[str, Sequence[PairSeen]], tasks: Sequence[str]) -> str:
    """Draw how far each two heads use the same hidden units at the last measured step, one matrix per arm."""
    size = 1.3 + 0.5 * len(tasks)
    columns = min(3, len(measured))
    rows = -(-len(measured) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(size * columns + 1.2, (size + 0.2) * rows), squeeze=False)
    for axes, (arm, pairs) in zip(grid.flat, measured.items(), strict=False):
        shares = np.full((len(tasks), len(tasks)), np.nan)
        for pair in pairs:
            i, j = sorted((tasks.index(pair.a), tasks.index(pair.b)))
            by_step = pair.mean("head_sharing")
            shares[j, i] = by_step[-1]
            if len(tasks) <= 12 and not np.isnan(by_step[-1]):
                ink = "white" if by_step[-1] > 0.6 else "#374151"
                words = f"{by_step[-1]:.2f}\n({by_step[0]:.2f})"
                axes.text(i, j - 1, words, ha="center", va="center", fontsize=8, color=ink)
        image = axes.imshow(np.ma.masked_invalid(shares[1:, :-1]), cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        _name_axes(axes, tasks[1:], tasks[:-1])
        axes.set_title(arm)
    for axes in list(grid.flat)[len(measured) :]:
        axes.set_visible(False)
    figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.8, label="hidden units in common")
    return svg(figure)


def _name_axes(axes: plt.Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    small = {"fontsize": 8 if max(len(rows), len(columns)) <= 30 else 5}
    axes.set_yticks(range(len(rows)), rows, **small)
    axes.set_xticks(range(len(columns)), columns, rotation=90, **small)


def mixing_figure(data_sets: Mapping[str, DataSetSummary], steps: int) -> str:
    """Draw how a batch is put together, and how often each dataset's rows are used."""
    mixed = {name: data_set for name, data_set in data_sets.items() if data_set.rows_per_step}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.55 * len(mixed) + 1.2), sharey=True)
    for i, data_set in enumerate(mixed.values()):
        per_step = data_set.rows_per_step or 0
        left.barh(i, per_step, color=COLOURS[2], alpha=0.7, height=0.6)
        left.annotate(f" {per_step} (of {data_set.rows:,} in all)", (per_step, i), va="center", fontsize=9)
        right.barh(i, per_step * steps / max(data_set.rows, 1), color=COLOURS[1], alpha=0.7, height=0.6)
        right.annotate(
            f" {per_step * steps / max(data_set.rows, 1):.1f}",
            (per_step * steps / max(data_set.rows, 1), i),
            va="center",
        )
    left.set(yticks=range(len(mixed)), yticklabels=list(mixed), title="rows in every batch")
    left.margins(x=0.45)
    right.margins(x=0.2)
    right.set_title("times each row is used in a run")
    left.invert_yaxis()
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    return svg(figure)
