"""Losses of tasks whose classes stand in an order: CORAL and cumulative logits."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.tasks import MISSING, Ordinal


@in_full_precision
def ordinal_loss(z: Tensor, y: Tensor, task: Ordinal) -> LossTerm:
    r"""Loss of annotated classes in an order, from :math:`P(y > k) = \sigma(z_k)`.

    - ``coral`` (W. Cao, V. Mirjalili, S. Raschka, "Rank consistent ordinal regression for neural networks", Pattern
      Recognition Letters 140, 2020): :math:`-\sum_k [y > k] \log \sigma(z_k) + [y \le k] \log (1 - \sigma(z_k))`
    - ``cumulative`` (P. McCullagh, "Regression models for ordinal data", JRSS B 42, 1980; proportional odds):
      :math:`-\log (P(y > c - 1) - P(y > c))` of the true class c.

    Args:
        z: logits, floating point, shape (N, C - 1), falling along a row, as an ordinal head makes them.
        y: classes, integer, shape (N,), in [-1, C); -1 is not annotated.
        task: the task.

    Returns:
        the sum over annotated inputs and their number.

    Example:
        >>> import torch
        >>> from mtlcore import Ordinal, ordinal_loss
        >>> pain = Ordinal("pain", ("none", "mild", "strong"), loss="cumulative")
        >>> ordinal_loss(torch.tensor([[1.0, -1.0], [0.0, 0.0]]), torch.tensor([1, -1]), pain).mean()
        tensor(0.7719)
    """
    annotated = y != MISSING
    known = y.clamp(min=0).long()
    if task.loss == "coral":
        above = (known[:, None] > torch.arange(z.shape[1], device=z.device)).to(z.dtype)
        losses = F.binary_cross_entropy_with_logits(z, above, reduction="none").sum(dim=1)
    else:
        losses = -class_log_probabilities(z).gather(1, known[:, None]).squeeze(1)
    return LossTerm(torch.where(annotated, losses, torch.zeros_like(losses)).sum(), annotated.sum().to(z.dtype))


def class_log_probabilities(z: Tensor) -> Tensor:
    r"""Return the log probability of every class, (N, C), from logits of P(y > k), (N, C - 1), falling along a row.

    :math:`\log(\sigma(a) - \sigma(b)) = \log\sigma(a) + \log\sigma(-b) + \log(1 - e^{b - a})` for a > b, which has
    digits left where both are near 0 or 1. A class between two equal logits gets the smallest positive number.

    Example:
        >>> class_log_probabilities(torch.tensor([[1.0, -1.0]])).exp().sum()
        tensor(1.)
    """
    first, last = F.logsigmoid(-z[:, :1]), F.logsigmoid(z[:, -1:])
    gap = (z[:, :-1] - z[:, 1:]).clamp(min=torch.finfo(z.dtype).eps)
    between = F.logsigmoid(z[:, :-1]) + F.logsigmoid(-z[:, 1:]) + torch.log(-torch.expm1(-gap))
    return torch.cat([first, between, last], dim=1)


def predicted_rank(z: Tensor) -> Tensor:
    """Return the predicted class, int64 (N,): as many as are exceeded with a probability above one half, the median.

    Example:
        >>> predicted_rank(torch.tensor([[1.0, -1.0], [3.0, 0.5]]))
        tensor([1, 2])
    """
    return (z > 0).sum(dim=1)
