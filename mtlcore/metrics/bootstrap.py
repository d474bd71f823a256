"""The interval of a difference between two arms, paired by seed and test input; few seeds widen it."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor

from mtlcore.metrics.interval import Interval
from mtlcore.metrics.kinds import summed_metric
from mtlcore.metrics.student_t import interval_half_width
from mtlcore.metrics.summed import SummedMetric
from mtlcore.tasks import Task

_ENTRIES_AT_ONCE = 1 << 20


def paired_difference(
    arm: Sequence[Tensor],
    baseline: Sequence[Tensor],
    labels: Tensor,
    task: Task,
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    metric: SummedMetric | None = None,
) -> Interval:
    """Compare an arm with a baseline in the task's primary metric, with an interval for the difference.

    Arm and baseline are compared on the same inputs, seed by seed, so what both find hard cancels. The interval covers
    what other seeds and other test inputs would have given: the seeds' variance is the sample's, the inputs' the
    bootstrap's (the same draws for every seed; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993), and the
    fewer the seeds the larger the t quantile that it reaches to (see :func:`interval_half_width`). With one seed it
    says nothing of other seeds.

    Args:
        arm: logits on the test inputs, one tensor (N, outputs) a seed.
        baseline: the same for the baseline, seed by seed.
        labels: the test inputs' labels, (N,) or (N, L), -1 where not annotated.
        task: the task; see :func:`mtlcore.primary_metric`.
        replicates: number of bootstrap replicates over inputs.
        confidence: coverage of the interval, in (0, 1).
        seed: of the bootstrap's own generator.
        metric: another metric in the primary one's place.

    Returns:
        the difference of the means over seeds (arm - baseline), with its interval. Where lower is better, a gain is
        negative.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, paired_difference
        >>> labels = torch.tensor([0, 1] * 50)
        >>> right = torch.nn.functional.one_hot(labels, 2).float()
        >>> paired_difference([right], [-right], labels, Multiclass("t", ("a", "b"))).low
        1.0
    """
    if len(arm) != len(baseline) or not arm:
        raise ValueError(
            f"{len(arm)} seeds against {len(baseline)}; expected as many of the arm as of the baseline, at least one"
        )
    scored = summed_metric(task, metric)
    pairs = [paired_contributions(a, b, labels, task, scored) for a, b in zip(arm, baseline, strict=True)]
    return paired_interval(pairs, task, scored, replicates=replicates, confidence=confidence, seed=seed)


def paired_contributions(arm: Tensor, baseline: Tensor, labels: Tensor, task: Task, metric: SummedMetric) -> np.ndarray:
    """Return what each input adds to the metric of an arm, and beside it to the baseline's, of one seed: (N, 2 K)."""
    return np.concatenate([metric.contributions(z, labels, task) for z in (arm, baseline)], axis=1)


def paired_interval(
    pairs: Sequence[np.ndarray], task: Task, metric: SummedMetric, *, replicates: int, confidence: float, seed: int
) -> Interval:
    """Return what :func:`paired_difference` does, of the :func:`paired_contributions` of every seed."""
    generator = np.random.Generator(np.random.PCG64(seed))

    def differences(counts: np.ndarray) -> np.ndarray:
        of_arm, of_baseline = np.split(counts, 2, axis=-1)
        return np.asarray(metric.score(of_arm, task) - metric.score(of_baseline, task))

    of_seeds = np.stack([differences(metric.sums(pair, task)) for pair in pairs])
    value, seeds = float(of_seeds.mean()), len(pairs)
    replicated = np.concatenate(
        [
            np.mean([differences(metric.sums(pair, task, weights)) for pair in pairs], axis=0)
            for weights in input_weights(generator, len(pairs[0]), replicates)
        ]
    )
    without = (of_seeds.sum() - of_seeds) / (seeds - 1) if seeds > 1 else np.empty(0)
    half = interval_half_width(without, replicated, confidence)
    return Interval(value, value - half, value + half)


def input_weights(generator: np.random.Generator, inputs: int, replicates: int) -> Iterator[np.ndarray]:
    """Yield how often each input is drawn, float64, (some replicates, inputs), until there are as many as asked for."""
    size = max(1, _ENTRIES_AT_ONCE // max(1, inputs))
    for first in range(0, replicates, size):
        yield drawn_weights(generator, inputs, min(size, replicates - first))


def drawn_weights(generator: np.random.Generator, inputs: int, replicates: int) -> np.ndarray:
    """Return how often each input is drawn when as many are drawn as there are, float64, (replicates, inputs)."""
    indices = generator.integers(inputs, size=(replicates, inputs)) + inputs * np.arange(replicates)[:, None]
    counted = np.bincount(indices.reshape(-1), minlength=replicates * inputs)
    return counted.reshape(replicates, inputs).astype(np.float64)


def groups_by_annotation(inputs: np.ndarray, annotated: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Return the places of inputs that are annotated for the same tasks, a group each.

    Args:
        inputs: all of them, int64, rising, (N,).
        annotated: for each task, those that are annotated for it.
    """
    if not len(inputs):
        return []
    by_task = np.stack([np.isin(inputs, of_task) for of_task in annotated], axis=1)
    _, group_of = np.unique(by_task, axis=0, return_inverse=True)
    return [np.flatnonzero(group_of.reshape(-1) == group) for group in np.unique(group_of)]
