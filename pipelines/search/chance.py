"""What other seeds and other validation inputs would have changed: intervals of scores and of their differences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mtlcore.metrics.bootstrap import drawn_weights, groups_by_annotation
from mtlcore.metrics.interval import Interval
from mtlcore.metrics.student_t import interval_half_width
from pipelines.search.objective import Measure
from pipelines.search.score import Counts

_ENTRIES_AT_ONCE = 1 << 21


def interval(
    of_trial: Sequence[Counts],
    measures: Mapping[str, Measure],
    value: Callable[[Mapping[str, Any]], Any],
    *,
    against: Sequence[Counts] = (),
    replicates: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Return a value of scores by task, or its difference to another trial's, with its interval.

    Inputs are drawn within the groups that are annotated for the same tasks, once for all tasks and for both trials, as
    :func:`mtlcore.bootstrapped_delta_m` draws them; seeds widen it as there. Where seeds are not as many, the first.

    Args:
        of_trial: of every seed.
        measures: by task, the metric.
        value: of scores by task: one number, or an array of replicates.
        against: of every seed of the trial that it is compared with; none for the value itself.
        replicates: of the bootstrap.
        confidence: of the interval.
    """
    seeds = min(len(of_trial), len(against)) if against else len(of_trial)
    sides = [(of_trial[i], against[i] if against else None) for i in range(seeds)]
    rows = of_trial[0].rows
    inputs = np.unique(np.concatenate([np.asarray(of) for of in rows.values()])) if rows else np.empty(0, np.int64)
    places = {task: np.searchsorted(inputs, of) for task, of in rows.items()}

    def of_side(counted: Counts, weights: np.ndarray) -> Any:
        scores: dict[str, Any] = {}
        for task, score in counted.scores.items():
            metric = measures[task].metric
            if metric is None or task not in counted.counts:
                scores[task] = np.full(len(weights), score)
                continue
            sums = metric.sums(counted.counts[task], measures[task].task, weights[:, places[task]])
            scores[task] = measures[task].sign * np.asarray(metric.score(sums, measures[task].task))
        return value(scores)

    def differences(weights: np.ndarray) -> np.ndarray:
        """Return (seeds, replicates)."""
        found = [of_side(one, weights) - (of_side(other, weights) if other else 0.0) for one, other in sides]
        return np.asarray(found, dtype=np.float64)

    of_seeds = differences(np.ones((1, len(inputs))))[:, 0]
    generator = np.random.Generator(np.random.PCG64(0))
    groups = groups_by_annotation(inputs, rows.values())
    size = max(1, _ENTRIES_AT_ONCE // max(1, len(inputs)))
    replicated = [
        differences(_drawn(generator, groups, len(inputs), min(size, replicates - first))).mean(axis=0)
        for first in range(0, replicates if len(inputs) else 0, size)
    ]
    without = (of_seeds.sum() - of_seeds) / (seeds - 1) if seeds > 1 else np.empty(0)
    middle = float(of_seeds.mean())
    half = interval_half_width(without, np.concatenate(replicated) if replicated else np.zeros(1), confidence)
    return Interval(middle, middle - half, middle + half)


def _drawn(generator: np.random.Generator, groups: Sequence[np.ndarray], inputs: int, replicates: int) -> np.ndarray:
    weights = np.zeros((replicates, inputs))
    for group in groups:
        weights[:, group] = drawn_weights(generator, len(group), replicates)
    return weights
