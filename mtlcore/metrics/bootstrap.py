"""The interval of a difference between two arms, paired by seed and test input; few seeds widen it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mtlcore.metrics.interval import Interval
from mtlcore.metrics.student_t import interval_half_width
from mtlcore.metrics.summed import SummedMetric
from mtlcore.tasks import MISSING, Multiclass, Task

_ENTRIES_AT_ONCE = 1 << 20


def _contributions(logits: Tensor, labels: Tensor, task: Task, metric: SummedMetric | None = None) -> np.ndarray:
    """Return what each input adds to the counts of the primary metric, float64, shape (N, K)."""
    if metric is not None:
        return metric.contributions(logits, labels, task)
    annotated = labels != MISSING
    if isinstance(task, Multiclass):
        correct = (logits.argmax(dim=1) == labels) & annotated
        return torch.stack([correct, annotated], dim=1).double().numpy()
    annotated_labels = annotated.any(dim=0)  # a label without any annotated entry takes no part, as in task_metrics
    logits, labels = logits[:, annotated_labels], labels[:, annotated_labels]
    predicted = logits > 0
    hit = predicted & (labels == 1)
    false = (predicted & (labels == 0)) | (~predicted & (labels == 1))
    return torch.cat([hit, false], dim=1).double().numpy()


def _score(counts: np.ndarray, task: Task, metric: SummedMetric | None = None) -> np.ndarray:
    """Return the primary metric of summed contributions, shape (..., K) -> (...)."""
    if metric is not None:
        return metric.score(counts, task)
    with np.errstate(invalid="ignore", divide="ignore"):
        if isinstance(task, Multiclass):
            return np.asarray(counts[..., 0] / counts[..., 1])
        hit, false = np.split(counts, 2, axis=-1)
        f1 = 2 * hit / (2 * hit + false)
    # a label that neither occurs nor is predicted takes no part, as in task_metrics
    takes_part = ~np.isnan(f1)
    return np.where(takes_part.any(-1), np.nan_to_num(f1).sum(-1) / np.maximum(takes_part.sum(-1), 1), 1.0)


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
        task: the task; its primary metric is accuracy or macro-F1.
        replicates: number of bootstrap replicates over inputs.
        confidence: coverage of the interval, in (0, 1).
        seed: of the bootstrap's own generator.
        metric: another metric in the primary one's place.

    Returns:
        the difference of the means over seeds (arm - baseline), with its interval.

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
    generator = np.random.Generator(np.random.PCG64(seed))
    pairs = [
        np.concatenate([_contributions(z, labels, task, metric) for z in (a, b)], axis=1)
        for a, b in zip(arm, baseline, strict=True)
    ]

    def differences(counts: np.ndarray) -> np.ndarray:
        of_arm, of_baseline = np.split(counts, 2, axis=-1)
        return np.asarray(_score(of_arm, task, metric) - _score(of_baseline, task, metric))

    of_seeds = np.stack([differences(pair.sum(axis=0)) for pair in pairs])
    value, seeds = float(of_seeds.mean()), len(pairs)
    replicated = np.concatenate(
        [
            np.mean([differences(weights @ pair) for pair in pairs], axis=0)
            for weights in input_weights(generator, len(labels), replicates)
        ]
    )
    without = (of_seeds.sum() - of_seeds) / (seeds - 1) if seeds > 1 else np.empty(0)
    half = interval_half_width(without, replicated, confidence)
    return Interval(value, value - half, value + half)


def input_weights(generator: np.random.Generator, inputs: int, replicates: int) -> Iterator[np.ndarray]:
    """Yield how often each input is drawn, float64, (some replicates, inputs), until there are as many as asked for."""
    size = max(1, _ENTRIES_AT_ONCE // max(1, inputs))
    for first in range(0, replicates, size):
        rows = min(size, replicates - first)
        indices = generator.integers(inputs, size=(rows, inputs)) + inputs * np.arange(rows)[:, None]
        yield np.bincount(indices.reshape(-1), minlength=rows * inputs).reshape(rows, inputs).astype(np.float64)
