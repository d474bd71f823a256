"""Metrics that are a function of sums over inputs, and so can be bootstrapped: the protocol of a primary metric."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mtlcore.registry import Registry
from mtlcore.tasks import MISSING, Multiclass, Task


class SummedMetric(ABC):
    """A metric of a task's predictions: what inputs add, summed, then a score.

    So its interval costs no more than accuracy's: a bootstrap replicate weighs the inputs anew, and computes nothing
    of them again. A metric of one's own is a subclass with these two methods and a constructor without arguments.

    Attributes:
        kinds: of the tasks that it scores.
        lower_is_better: whether it is an error. One that is not is 0 or more, where it may be a primary metric.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"multiclass", "multilabel"})
    lower_is_better: ClassVar[bool] = False

    @abstractmethod
    def contributions(self, logits: Tensor, labels: Tensor, task: Task) -> np.ndarray:
        """Return what each input adds, float64, shape (N, K) with a K of the metric's choice.

        Args:
            logits: what the task's head puts out, floating point, shape (N, task.width).
            labels: as :mod:`mtlcore.tasks` says: (N,) or (N, L), -1 or NaN where not annotated.
            task: of which kind it is, and its outputs.
        """

    @abstractmethod
    def score(self, sums: np.ndarray, task: Task) -> np.ndarray:
        """Return the metric of summed contributions, shape (..., K) -> (...); NaN where it is not defined."""

    def sums(self, contributions: np.ndarray, task: Task, weights: np.ndarray | None = None) -> np.ndarray:
        """Return contributions summed over inputs; only a metric that keeps them in another form has its own.

        Args:
            contributions: shape (..., N, K), or of several predictions side by side, (..., N, m K).
            task: the task.
            weights: how often each input counts, (N,) or (R, N); once by default.

        Returns:
            shape (..., m K'), or with R weights (..., R, m K'), for :meth:`score`.
        """
        return np.asarray(contributions.sum(axis=-2) if weights is None else weights @ contributions)

    def __call__(self, logits: Tensor, labels: Tensor, task: Task) -> float:
        """Return the metric of some predictions."""
        return float(self.score(self.sums(self.contributions(logits, labels, task), task), task))


class _OfCounts(SummedMetric):
    """Of hits, false alarms, misses and right rejections of every class or label that is annotated."""

    def contributions(self, logits: Tensor, labels: Tensor, task: Task) -> np.ndarray:
        """Return the four counts side by side, (N, 4 L); of classes the true and the predicted one, (N, 2)."""
        annotated = labels != MISSING
        if isinstance(task, Multiclass):  # four counts of ten thousand classes would be more than their logits
            return torch.stack([labels.long(), logits.argmax(dim=1)], dim=1).double().numpy()
        holds, predicted, takes_part = labels == 1, logits > 0, annotated
        cells = [holds & predicted, ~holds & predicted, holds & ~predicted, ~holds & ~predicted]
        return torch.cat([cell & takes_part for cell in cells], dim=1).double().numpy()

    def sums(self, contributions: np.ndarray, task: Task, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the four counts summed, side by side."""
        if not isinstance(task, Multiclass):
            return super().sums(contributions, task, weights)
        w = np.ones(contributions.shape[-2]) if weights is None else weights
        of_each = []
        for of_one in contributions.reshape(-1, *contributions.shape[-2:]):
            pairs = zip(of_one.T[::2], of_one.T[1::2], strict=True)
            counts = [_counts_of_classes(true, said, w, len(task.classes)) for true, said in pairs]
            of_each.append(np.concatenate(counts, axis=-1))
        return np.reshape(of_each, (*contributions.shape[:-2], *of_each[0].shape))

    def score(self, sums: np.ndarray, task: Task) -> np.ndarray:
        """Return the metric."""
        tp, fp, fn, tn = np.split(sums, 4, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self._of(tp, fp, fn, tn, isinstance(task, Multiclass)))

    @abstractmethod
    def _of(self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray, multiclass: bool) -> np.ndarray: ...


def _counts_of_classes(true: np.ndarray, said: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return hits, false alarms, misses and right rejections of every class, (..., 4 classes), weighed: (..., N)."""
    annotated = true != MISSING
    true, said = true[annotated].astype(np.int64), said[annotated].astype(np.int64)
    hit = true == said
    counts = np.empty((*weights.shape[:-1], 4, classes))
    for place in np.ndindex(*weights.shape[:-1]):
        w = weights[place][annotated]
        hits = np.bincount(true[hit], w[hit], classes)
        false, missed = np.bincount(said, w, classes) - hits, np.bincount(true, w, classes) - hits
        counts[place] = hits, false, missed, w.sum() - hits - false - missed
    return counts.reshape(*weights.shape[:-1], 4 * classes)


def _mean(values: np.ndarray, taking_part: Any) -> np.ndarray:
    return np.asarray(np.where(taking_part, values, 0).sum(axis=-1) / taking_part.sum(axis=-1))


class Accuracy(_OfCounts):
    """``accuracy`` of :func:`mtlcore.task_metrics`."""

    def _of(self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray, multiclass: bool) -> np.ndarray:
        if multiclass:
            return np.asarray(tp.sum(axis=-1) / (tp + fn).sum(axis=-1))
        annotated = tp + fp + fn + tn
        return _mean((tp + tn) / annotated, annotated > 0)


class BalancedAccuracy(_OfCounts):
    """``balanced_accuracy`` of :func:`mtlcore.task_metrics`."""

    def _of(self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray, multiclass: bool) -> np.ndarray:
        recall, specificity = tp / (tp + fn), tn / (tn + fp)
        if multiclass:
            return _mean(recall, tp + fn > 0)
        defined = np.stack([tp + fn > 0, tn + fp > 0])
        balanced = np.where(defined, np.stack([recall, specificity]), 0).sum(axis=0) / defined.sum(axis=0)
        return _mean(balanced, defined.any(axis=0))


class MacroF1(_OfCounts):
    """``macro_f1`` of :func:`mtlcore.task_metrics`."""

    def _of(self, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray, multiclass: bool) -> np.ndarray:
        f1 = np.nan_to_num(2 * tp / (2 * tp + fp + fn))
        return _mean(f1, tp + fp + fn > 0 if multiclass else tp + fp + fn + tn > 0)


# The metrics that may be a task's primary one, by name; a line here adds one.
SUMMED_METRICS: Registry[type[SummedMetric]] = Registry(
    "metric",
    "kindred.metrics",
    {
        "accuracy": Accuracy,
        "balanced_accuracy": BalancedAccuracy,
        "macro_f1": MacroF1,
        "rmse": "mtlcore.metrics.moments:RootMeanSquaredError",
        "mae": "mtlcore.metrics.moments:MeanAbsoluteError",
        "r2": "mtlcore.metrics.moments:Determination",
        "ccc": "mtlcore.metrics.moments:Concordance",
        "quadratic_kappa": "mtlcore.metrics.moments:QuadraticKappa",
    },
)
