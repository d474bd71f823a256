"""A search's figures as SVG text."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from pipelines.report.drawing import COLOURS, INK, svg
from pipelines.search.choice import pareto_front
from pipelines.search.records import SearchRecord

_BEST, _OTHER, _STOPPED = COLOURS[2], COLOURS[0], COLOURS[1]
_BASELINES = {"naive": COLOURS[3], "single-task": COLOURS[4], "as it stands": COLOURS[6]}
_MOST_PAIRS, _MOST_CURVES, _MOST_KEYS = 6, 300, 12


def score_over_time(record: SearchRecord) -> str:
    """Draw every trial's score in the order in which they ended, the best so far, and the baselines."""
    ended = sorted((of for of in record.suggested if of.score is not None), key=lambda of: (of.ended or 0, of.number))
    figure, axes = plt.subplots(figsize=(9, 3.4))
    for state, colour, label in (("finished", _OTHER, "trial"), ("stopped", _STOPPED, "stopped early")):
        places = [i for i, of in enumerate(ended) if of.state == state]
        axes.plot(places, [ended[i].score for i in places], "o", color=colour, markersize=4, alpha=0.7, label=label)
    best, so_far = -math.inf, []
    for of in ended:
        best = max(best, of.score if of.state == "finished" and of.score is not None else -math.inf)
        so_far.append(best if math.isfinite(best) else np.nan)
    axes.plot(range(len(ended)), so_far, color=_BEST, drawstyle="steps-post", label="best so far")
    _mark_baselines(axes, record)
    failed = sum(of.state == "failed" for of in record.trials)
    axes.set(xlabel="trials in the order in which they ended", ylabel="score", title="Score over time")
    if failed:
        axes.set_title(f"Score over time ({failed} failed)")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return svg(figure)


def parallel_coordinates(record: SearchRecord) -> str:
    """Draw every finished trial as a line over the searched keys; the better, the stronger."""
    trials = sorted(record.finished, key=lambda of: of.score or 0)
    keys = list(record.space)[:_MOST_KEYS]
    figure, axes = plt.subplots(figsize=(max(9, 1.2 * len(keys)), 4))
    scores = np.array([of.score for of in trials], dtype=float)
    span = np.ptp(scores) or 1.0
    for of in trials:
        rank = ((of.score or 0) - scores.min()) / span
        heights = [_height(record.space[key], of.settings.get(key)) for key in keys]
        chosen = of.number == record.chosen
        axes.plot(
            range(len(keys) + 1), [*heights, rank], color=_BEST if chosen or rank > 0.8 else _OTHER,
            alpha=0.2 + 0.8 * rank, linewidth=2.5 if chosen else 1,
        )  # fmt: skip
    for i, key in enumerate(keys):
        for height, text in _ticks(record.space[key]):
            axes.annotate(text, (i, height), xytext=(3, 0), textcoords="offset points", fontsize=8, va="center")
    axes.annotate(f"{scores.max():.3f}", (len(keys), 1), xytext=(4, 0), textcoords="offset points", fontsize=8)
    axes.annotate(f"{scores.min():.3f}", (len(keys), 0), xytext=(4, 0), textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(keys) + 1), [*map(_short, keys), "score"], rotation=20, ha="right")
    axes.set(yticks=[], title="Finished trials, the best fifth in blue", xlim=(-0.2, len(keys) + 0.5))
    axes.grid(axis="y", visible=False)
    return svg(figure)


def importance_figure(shares: Mapping[str, float]) -> str:
    """Draw how much each key matters."""
    keys = list(shares)[:_MOST_KEYS]
    figure, axes = plt.subplots(figsize=(7, 0.35 * len(keys) + 1))
    axes.barh(range(len(keys)), [100 * shares[key] for key in keys], color=_BEST, height=0.6)
    axes.set_yticks(range(len(keys)), [_short(key) for key in keys])
    axes.set(xlabel="% of the score's variance", title="Importance of the keys", ylim=(len(keys) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    return svg(figure)


def slices(record: SearchRecord, keys: Sequence[str]) -> str:
    """Draw the score by each key's value."""
    keys = list(keys)[:_MOST_KEYS]
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.3 * columns, 2.6 * rows), squeeze=False, sharey=True)
    for axes in list(grid.flat)[len(keys) :]:
        axes.set_visible(False)
    for key, axes in zip(keys, grid.flat, strict=False):
        how = record.space[key]
        for of in record.finished:
            if key not in of.settings:
                continue
            value = of.settings[key]
            x = list(how["values"]).index(value) if how["kind"] == "choice" and value in how["values"] else value
            best = of.number == record.chosen
            axes.plot([x], [of.score], "o", color=_BEST if best else _OTHER, markersize=6 if best else 4, alpha=0.8)
        if how["kind"] == "choice":
            axes.set_xticks(range(len(how["values"])), [_text(value) for value in how["values"]], rotation=20)
            axes.set_xlim(-0.5, len(how["values"]) - 0.5)
        elif how["kind"] == "loguniform":
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(_short(key), fontsize=9)
    for row in grid:
        row[0].set_ylabel("score")
    return svg(figure)


def task_scores(record: SearchRecord) -> str:
    """Draw every trial in the plane of two tasks, for each pair of them; the front is joined."""
    pairs = list(combinations(record.tasks, 2))[:_MOST_PAIRS]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    size = (max(4.2 * columns, 5.5), 3.4 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axes in list(grid.flat)[len(pairs) :]:
        axes.set_visible(False)
    for (a, b), axes in zip(pairs, grid.flat, strict=False):
        trials = [of for of in record.finished if a in of.scores and b in of.scores]
        axes.plot([of.scores[a] for of in trials], [of.scores[b] for of in trials], "o", color=_OTHER, markersize=4)
        unbeaten = pareto_front(trials, (a, b))
        best = sorted((of for of in trials if of.number in unbeaten), key=lambda of: of.scores[a])
        front = [of.scores[a] for of in best], [of.scores[b] for of in best]
        axes.plot(*front, color=_BEST, marker="o", markersize=4, linewidth=1, label="front")
        for of in record.trials:
            name = of.fixed_name
            if name and a in of.scores and b in of.scores:
                mark = {"color": _BASELINES.get(name, INK), "marker": "D", "markersize": 6, "linestyle": "none"}
                axes.plot([of.scores[a]], [of.scores[b]], label=name, **mark)
        axes.set(xlabel=a, ylabel=b)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return svg(figure)


def learning_curves(record: SearchRecord) -> str:
    """Draw what trials came to as they trained; a cross is where the scheduler ended one."""
    figure, axes = plt.subplots(figsize=(9, 3.4))
    with_curves = [of for of in record.suggested if len(of.curve) > 1][:_MOST_CURVES]
    for of in with_curves:
        best, stopped = of.number == record.chosen, of.state == "stopped"
        colour = _BEST if best else _STOPPED if stopped else _OTHER
        points = [point.step for point in of.curve], [point.score for point in of.curve]
        axes.plot(*points, color=colour, linewidth=2.5 if best else 1, alpha=1 if best else 0.5)
        if stopped:
            axes.plot(points[0][-1:], points[1][-1:], "x", color=colour, markersize=5)
    axes.set(xlabel="step", ylabel="score", title="Validation while training; a cross: stopped early")
    return svg(figure)


def has_curves(record: SearchRecord) -> bool:
    """Say whether trials validated as they trained."""
    return any(len(of.curve) > 1 for of in record.suggested)


def _mark_baselines(axes: Axes, record: SearchRecord) -> None:
    for of in record.trials:
        name = of.fixed_name
        if name and of.score is not None:
            axes.axhline(of.score, color=_BASELINES.get(name, INK), linestyle="--", linewidth=1.2, label=name)


def _height(how: Mapping[str, Any], value: Any) -> float:
    """Return where a value stands on a key's axis, in [0, 1]; NaN where the key was not drawn."""
    if value is None:
        return math.nan
    if how["kind"] == "choice":
        values = list(how["values"])
        return values.index(value) / max(1, len(values) - 1) if value in values else math.nan
    low, high = float(how["low"]), float(how["high"])
    if how["kind"] == "loguniform":
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (float(value) - low) / ((high - low) or 1.0)


def _ticks(how: Mapping[str, Any]) -> list[tuple[float, str]]:
    values = how["values"] if how["kind"] == "choice" else (how["low"], how["high"])
    return [(_height(how, value), _text(value)) for value in values]


def _short(key: str) -> str:
    return key.removeprefix("training.").removeprefix("matching.")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 14 else f"{text[:13]}…"
