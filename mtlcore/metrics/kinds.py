"""What every kind of task is scored by: its metrics, the primary one, and what predicts without looking."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mtlcore.losses.regression import standardised
from mtlcore.metrics.classification import multiclass_metrics, multilabel_metrics
from mtlcore.metrics.moments import (
    Concordance,
    Determination,
    MeanAbsoluteError,
    QuadraticKappa,
    RootMeanSquaredError,
)
from mtlcore.metrics.summed import SummedMetric
from mtlcore.tasks import MISSING, Multiclass, Ordinal, Regression, Task

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "macro_average_precision", "calibration_error")


@dataclass(frozen=True)
class KindMetrics:
    """How a kind of task is scored.

    Attributes:
        names: every metric of :func:`mtlcore.task_metrics`, in order.
        primary: the name of the one by which arms are compared.
        metric: it, as sums over inputs.
        unitless: the metric that stands for the task in a mean over tasks of different kinds: higher is better, 1 the
            most; the primary one itself, unless that is an error in the labels' unit.
        compute: all of them, of logits, labels and the task.
        blind: predictions that ignore the inputs, to which chance is compared; of a seed's logits, labels, task and the
            generator that all seeds draw from in turn.
    """

    names: tuple[str, ...]
    primary: str
    metric: SummedMetric
    unitless: str
    compute: Callable[[Tensor, Tensor, Any], dict[str, Any]]
    blind: Callable[[Tensor, Tensor, Any, torch.Generator], Tensor]


class _ShareRight(SummedMetric):
    """The accuracy of classes, by two sums alone: with 10,000 classes four a class would be too many."""

    def contributions(self, logits: Tensor, labels: Tensor, task: Task) -> np.ndarray:
        annotated = labels != MISSING
        correct = (logits.argmax(dim=1) == labels) & annotated
        return torch.stack([correct, annotated], dim=1).double().numpy()

    def score(self, sums: np.ndarray, task: Task) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums[..., 0] / sums[..., 1])


class _MacroF1OfLabels(SummedMetric):
    """Macro-F1 of labels, by two sums a label."""

    def contributions(self, logits: Tensor, labels: Tensor, task: Task) -> np.ndarray:
        # a label without any annotated entry takes no part, as in task_metrics
        annotated_labels = (labels != MISSING).any(dim=0)
        logits, labels = logits[:, annotated_labels], labels[:, annotated_labels]
        predicted = logits > 0
        hit = predicted & (labels == 1)
        false = (predicted & (labels == 0)) | (~predicted & (labels == 1))
        return torch.cat([hit, false], dim=1).double().numpy()

    def score(self, sums: np.ndarray, task: Task) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            hit, false = np.split(sums, 2, axis=-1)
            f1 = 2 * hit / (2 * hit + false)
        # a label that neither occurs nor is predicted takes no part, as in task_metrics
        takes_part = ~np.isnan(f1)
        return np.where(takes_part.any(-1), np.nan_to_num(f1).sum(-1) / np.maximum(takes_part.sum(-1), 1), 1.0)


class _AccuracyOfRanks(SummedMetric):
    def contributions(self, logits: Tensor, labels: Tensor, task: Task) -> np.ndarray:
        annotated = labels != MISSING
        correct = ((logits > 0).sum(dim=1) == labels) & annotated
        return torch.stack([correct, annotated], dim=1).double().numpy()

    def score(self, sums: np.ndarray, task: Task) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums[..., 0] / sums[..., 1])


def _most_frequent(logits: Tensor, labels: Tensor, task: Multiclass, generator: torch.Generator) -> Tensor:
    counts = torch.bincount(labels[labels != MISSING].long(), minlength=len(task.classes))
    return one_hot(counts.argmax(), len(task.classes)).double().expand(len(labels), -1)


def _dealt_anew(logits: Tensor, labels: Tensor, task: Task, generator: torch.Generator) -> Tensor:
    return logits[torch.randperm(len(logits), generator=generator)]


def _median_class(logits: Tensor, labels: Tensor, task: Ordinal, generator: torch.Generator) -> Tensor:
    median = labels[labels != MISSING].double().quantile(0.5, interpolation="lower")
    above = torch.where(torch.arange(task.width) < median, 1.0, -1.0)
    return above.expand(len(labels), -1)


def _mean_number(logits: Tensor, labels: Tensor, task: Regression, generator: torch.Generator) -> Tensor:
    mean = standardised(labels.double(), task).nanmean(dim=0).nan_to_num(0.0)
    return mean.expand(len(labels), -1)


def _each(**metrics: SummedMetric) -> Callable[[Tensor, Tensor, Task], dict[str, Any]]:
    return lambda logits, labels, task: {name: metric(logits, labels, task) for name, metric in metrics.items()}


_NUMBERS = {"rmse": RootMeanSquaredError(), "mae": MeanAbsoluteError(), "r2": Determination(), "ccc": Concordance()}
_RANKS = {"mae": MeanAbsoluteError(), "quadratic_kappa": QuadraticKappa(), "accuracy": _AccuracyOfRanks()}

OF_KIND: dict[str, KindMetrics] = {
    "multiclass": KindMetrics(METRICS, "accuracy", _ShareRight(), "accuracy", multiclass_metrics, _most_frequent),
    "multilabel": KindMetrics(METRICS, "macro_f1", _MacroF1OfLabels(), "macro_f1", multilabel_metrics, _dealt_anew),
    "ordinal": KindMetrics(tuple(_RANKS), "mae", _RANKS["mae"], "quadratic_kappa", _each(**_RANKS), _median_class),
    "regression": KindMetrics(tuple(_NUMBERS), "rmse", _NUMBERS["rmse"], "r2", _each(**_NUMBERS), _mean_number),
}


def summed_metric(task: Task, metric: SummedMetric | None) -> SummedMetric:
    """Return a metric, or the task's primary one where none is given."""
    return OF_KIND[task.kind].metric if metric is None else metric
