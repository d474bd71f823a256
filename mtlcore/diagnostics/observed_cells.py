"""Observed relatedness: the share and the interval of every cell of a table, from sums that training gathers."""

from typing import NamedTuple

import torch
from torch import Tensor

from mtlcore.tasks import Multiclass, Task

_LEAST_SUPPORT = 5.0  # a cell that was seen on fewer inputs cannot be judged
_Z = 1.959964  # of a 95 % interval
_RELIANCE = 0.7  # weight of A's probe against a uniform prior: trained on few inputs many times, it is overconfident
_LEAST_CELL = 0.05  # cells are clipped to this distance from 0 and 1 in the likelihood of a class
_MOST_LABELS = 12.0  # an input's labels of B count as at most so many independent ones, since they are correlated
_LEAST_SENSE = 0.05  # a probe whose true and false positive rates differ by less says nothing


class ObservedCells(NamedTuple):
    """What the data show of every cell of a table, whatever the table says.

    Attributes:
        share: of the inputs of class c, how many have label l, float32, shape (C, L), in [0, 1].
        low: the low end of its interval, same shape; 0 where the data cannot judge the cell.
        high: the high end; 1 where they cannot.
    """

    share: Tensor
    low: Tensor
    high: Tensor


class _Way(NamedTuple):
    cells: ObservedCells
    support: Tensor


def class_profile(by_A: Tensor, confusion: Tensor, B: Task) -> Tensor:
    """Return the share of each label of B among each class's inputs, corrected by the confusion of B's probe.

    Args:
        by_A: sums over inputs annotated as the class, float32, shape (5, C, L): annotated for B, of these holding; not
            annotated, of these B's probe's probability p, and 2 p (1 - p).
        confusion: sums over inputs annotated for B, shape (4, L): p where the label holds, how many; p where it does
            not, how many.
        B: the task.

    Returns:
        shape (C, L), in [0, 1]; rows of a multiclass B sum to 1. Drawn to the label's base rate by one input.

    Example:
        >>> import torch
        >>> from mtlcore import Multilabel
        >>> by_A = torch.tensor([0.0, 0.0, 1e6, 6e5, 0.0])[:, None, None]  # the probe says 0.6, never annotated
        >>> confusion = torch.tensor([[70.0], [100.0], [10.0], [100.0]])  # it says 0.7 where it holds, else 0.1
        >>> class_profile(by_A, confusion, Multilabel("traits", ("flies",)))
        tensor([[0.8333]])
    """
    annotated, holding, missing, predicted, _ = by_A
    of_true, true, of_false, false = confusion
    # Half an input on either side: a label that has not been seen yet has a base rate, of 1/2.
    base = ((true + 0.5) / (true + false + 1))[None]
    sensitivity, fall_out = of_true / true.clamp(min=1e-6), of_false / false.clamp(min=1e-6)
    sense = (sensitivity - fall_out).clamp(min=_LEAST_SENSE)
    corrected = ((predicted / missing.clamp(min=1e-6) - fall_out) / sense).clamp(0, 1)
    profile: Tensor = (holding + missing * corrected + base) / (annotated + missing + 1)
    if isinstance(B, Multiclass):
        profile = profile / profile.sum(dim=1, keepdim=True).clamp(min=1e-6)
    return profile


def classes_of(
    p_A: Tensor, y_B: Tensor, has_B: Tensor, profile: Tensor, negative_profile: Tensor | None, B: Task
) -> Tensor:
    """Return how likely each input is of each class, by A's probe and its labels of B; the r of RelatednessTrust.

    Args:
        p_A: A's probe's probabilities, float32, shape (N, C).
        y_B: labels of B by output, 0 where there is none, shape (N, L).
        has_B: 1 where there is one, shape (N, L).
        profile: of the classes, shape (C, L).
        negative_profile: for a multilabel A, of the inputs where its label does not hold, shape (C, L); None for a
            multiclass A.
        B: the task.

    Returns:
        shape (N, C), in [0, 1]; rows of a multiclass A sum to 1.
    """
    weight = (_MOST_LABELS / has_B.sum(dim=1, keepdim=True).clamp(min=1)).clamp(max=1)
    holds, not_holds = weight * has_B * y_B, weight * has_B * (1 - y_B)
    if isinstance(B, Multiclass):
        holds, not_holds = has_B * y_B, torch.zeros_like(holds)

    def log_likelihood(share: Tensor) -> Tensor:
        share = share.clamp(_LEAST_CELL, 1 - _LEAST_CELL)
        return holds @ share.log().t() + not_holds @ torch.log1p(-share).t()

    log_of_class = log_likelihood(profile)
    if negative_profile is None:
        prior = _RELIANCE * p_A + (1 - _RELIANCE) / p_A.shape[1]
        return torch.softmax(prior.log() + log_of_class, dim=1)
    prior = _RELIANCE * p_A + (1 - _RELIANCE) / 2
    return torch.sigmoid(torch.logit(prior) + log_of_class - log_likelihood(negative_profile))


def from_A(by_A: Tensor, confusion: Tensor, B: Task, rows: int | None) -> _Way:
    """Return what inputs annotated for A show; ``rows`` is how many there are in all, None where that is not known."""
    annotated, holding, missing, predicted, unsure = by_A
    count = annotated + missing
    divisor = count.clamp(min=1e-6)
    low, high = _wilson((holding + predicted) / divisor, count * _distinct(count, rows))
    low, high = (low - unsure / divisor).clamp(min=0), (high + unsure / divisor).clamp(max=1)
    # The corrected share is the estimate; what the probe itself said, and was unsure of, bounds it.
    share = torch.minimum(torch.maximum(class_profile(by_A, confusion, B), low), high)
    return _Way(ObservedCells(share, low, high), count * _distinct(count, rows))


def from_B(by_B: Tensor, rows: int | None) -> _Way:
    """Return what inputs annotated for B show.

    Args:
        by_B: sums of r, of r times the label, and of r squared, shape (3, C, L).
        rows: how many there are in all; None where that is not known.
    """
    count, holding, squares = by_B
    divisor = count.clamp(min=1e-6)
    share, purity = holding / divisor, (squares / divisor).clamp(1e-3, 1)
    support = count * purity * _distinct(count, rows)
    low, high = _wilson(share, support)
    # Up to 1 - purity of the count belongs to other classes, which may have the label or not.
    return _Way(ObservedCells(share, ((low - (1 - purity)) / purity).clamp(0, 1), (high / purity).clamp(0, 1)), support)


def combined(*ways: _Way) -> ObservedCells:
    """Average the ways where they have support, weighed by the inverse of their squared widths."""
    weights = torch.stack(
        [(way.support >= _LEAST_SUPPORT) / ((way.cells.high - way.cells.low).square() + 1e-3) for way in ways]
    )
    total = weights.sum(dim=0)
    share, low, high = (
        torch.where(total > 0, (weights * torch.stack(ends)).sum(dim=0) / total.clamp(min=1e-6), nothing)
        for ends, nothing in zip(zip(*(way.cells for way in ways), strict=True), (0.5, 0.0, 1.0), strict=True)
    )
    return ObservedCells(torch.minimum(torch.maximum(share, low), high), low, high)


def _distinct(count: Tensor, rows: int | None) -> Tensor | float:
    """Return the share of what was counted that is not the same inputs again."""
    if rows is None:
        return 1.0
    return (rows / count.amax(dim=1).sum().clamp(min=1e-6)).clamp(max=1.0)


def _wilson(share: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return Wilson's interval in float32 on the evidence's device; see mtlcore.relatedness.wilson."""
    of_count = _Z**2 / count.clamp(min=1e-6)
    middle = share + of_count / 2
    half = (of_count * (share * (1 - share)).clamp(min=0) + of_count.square() / 4).sqrt()
    return ((middle - half) / (1 + of_count)).clamp(0, 1), ((middle + half) / (1 + of_count)).clamp(0, 1)
