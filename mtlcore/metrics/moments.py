"""Metrics of numbers and of ranks, all of them functions of a few sums over inputs."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtlcore.losses.ordinal import predicted_rank
from mtlcore.losses.regression import standardised
from mtlcore.metrics.summed import SummedMetric
from mtlcore.tasks import Regression, Task


class Moments(NamedTuple):
    """Means over annotated entries of truth y, prediction p, their squares and product, and the error d = p - y."""

    y: np.ndarray
    p: np.ndarray
    yy: np.ndarray
    pp: np.ndarray
    yp: np.ndarray
    dd: np.ndarray
    absolute: np.ndarray


class _OfMoments(SummedMetric):
    """Of the moments of truth y and prediction p, by output: n, y, p, y^2, p^2, y p, (p - y)^2 and |p - y|.

    Numbers are standardised as in training, so that no sum of squares cancels; ranks are as they are. A task's metric
    is the mean of its outputs', each over the entries annotated for it; one that is not defined takes no part.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"regression"})

    def contributions(self, logits: Tensor, labels: Tensor, task: Task) -> np.ndarray:
        """Return the eight moments side by side, (N, 8 outputs)."""
        y, p = _truth_and_prediction(logits, labels, task)
        annotated = ~y.isnan()
        y, p = torch.where(annotated, y, 0.0), torch.where(annotated, p, 0.0)
        d = p - y
        return torch.cat([annotated.double(), y, p, y * y, p * p, y * p, d * d, d.abs()], dim=1).numpy()

    def score(self, sums: np.ndarray, task: Task) -> np.ndarray:
        """Return the metric."""
        n, *sums_by_moment = np.split(sums, 8, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            by_output = self._of(Moments(*(of_moment / n for of_moment in sums_by_moment)), _unit(task))
            defined = ~np.isnan(by_output)
            return np.asarray(np.where(defined, by_output, 0).sum(axis=-1) / defined.sum(axis=-1))

    @abstractmethod
    def _of(self, mean: Moments, unit: np.ndarray) -> np.ndarray:
        """Return the metric by output, NaN where it is not defined, of the moments' means and a number's unit."""


def _truth_and_prediction(logits: Tensor, labels: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return float64 (N, outputs) of both; NaN where the truth is not annotated."""
    if isinstance(task, Regression):
        return standardised(labels.double(), task), logits[:, : len(task.outputs)].double()
    true = labels.double()[:, None]
    return torch.where(true < 0, torch.nan, true), predicted_rank(logits).double()[:, None]


def _unit(task: Task) -> np.ndarray:
    return np.array(task.spread or (1.0,)) if isinstance(task, Regression) else np.ones(1)


class RootMeanSquaredError(_OfMoments):
    r"""``rmse``: :math:`\sqrt{\overline{(p - y)^2}}` in the labels' unit; an error, lower is better.

    Example:
        >>> import torch
        >>> from mtlcore import Regression
        >>> RootMeanSquaredError()(torch.zeros(2, 1), torch.tensor([[3.0], [-3.0]]), Regression("x", ("x",)))
        3.0
    """

    lower_is_better: ClassVar[bool] = True

    def _of(self, mean: Moments, unit: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(mean.dd) * unit)


class MeanAbsoluteError(_OfMoments):
    r"""``mae``: :math:`\overline{|p - y|}` in the labels' unit, or in classes of an order; lower is better."""

    kinds: ClassVar[frozenset[str]] = frozenset({"regression", "ordinal"})
    lower_is_better: ClassVar[bool] = True

    def _of(self, mean: Moments, unit: np.ndarray) -> np.ndarray:
        return np.asarray(mean.absolute * unit)


class Determination(_OfMoments):
    r"""``r2``: :math:`1 - \overline{(p - y)^2} / \mathrm{var}(y)`, at most 1; 0 is what the mean of the test gets."""

    def _of(self, mean: Moments, unit: np.ndarray) -> np.ndarray:
        variance = _variance(mean.y, mean.yy)
        return np.where(variance > 0, 1 - mean.dd / np.where(variance > 0, variance, 1), np.nan)


class Concordance(_OfMoments):
    r"""``ccc``, Lin's concordance.

    .. math:: 2 \mathrm{cov}(y, p) / (\mathrm{var}(y) + \mathrm{var}(p) + (\bar y - \bar p)^2)

    In [-1, 1]; unlike a correlation it asks for the same mean and spread. L. I-K. Lin, Biometrics 45, 1989.
    """

    def _of(self, mean: Moments, unit: np.ndarray) -> np.ndarray:
        apart = _variance(mean.y, mean.yy) + _variance(mean.p, mean.pp) + (mean.y - mean.p) ** 2
        return np.where(apart > 0, 2 * (mean.yp - mean.y * mean.p) / np.where(apart > 0, apart, 1), np.nan)


class QuadraticKappa(Concordance):
    r"""``quadratic_kappa``, Cohen's kappa with weights :math:`(i - j)^2` (J. Cohen, Psychological Bulletin 70, 1968).

    Disagreement expected of independent ranks is :math:`\mathrm{var}(y) + \mathrm{var}(p) + (\bar y - \bar p)^2`, so it
    is the concordance of the ranks.

    Example:
        >>> import torch
        >>> from mtlcore import Ordinal
        >>> task = Ordinal("pain", ("none", "mild", "strong"))
        >>> z = torch.tensor([[-1.0, -2.0], [1.0, -1.0], [2.0, 1.0]])
        >>> QuadraticKappa()(z, torch.tensor([0, 1, 2]), task)
        1.0
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"ordinal"})


def _variance(mean: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
    variance = np.maximum(mean_square - mean**2, 0)
    return np.where(variance > 1e-12 * np.maximum(mean_square, 1e-300), variance, 0.0)  # the rest of a cancellation
