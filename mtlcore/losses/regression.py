"""Losses of tasks that are numbers: squared error, Huber's loss, Gaussian likelihood, of standardised numbers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.tasks import Regression, Task

# Of a predicted log variance, in units of the training labels' variance: an error of zero would reward minus infinity.
_LOG_VARIANCE = (-7.0, 7.0)


def standardised(y: Tensor, task: Regression) -> Tensor:
    """Return numbers less the task's mean, over its spread; NaN stays NaN.

    Example:
        >>> standardised(torch.tensor([[30.0]]), Regression("age", ("age",), mean=(20.0,), spread=(5.0,)))
        tensor([[2.]])
    """
    if not task.mean and not task.spread:
        return y
    # In float64: a year less its mean would lose half of float32's digits.
    mean = torch.tensor(task.mean or (0.0,), dtype=torch.float64, device=y.device)
    spread = torch.tensor(task.spread or (1.0,), dtype=torch.float64, device=y.device)
    return ((y.double() - mean) / spread).to(y.dtype)


def predicted_numbers(z: Tensor, task: Regression) -> Tensor:
    """Return what a head predicts, in the labels' unit.

    Args:
        z: what the head puts out, floating point, shape (N, K), or (N, 2 K) of a task with a Gaussian likelihood.
        task: the task.

    Returns:
        floating point as ``z``, shape (N, K).

    Example:
        >>> predicted_numbers(torch.tensor([[2.0]]), Regression("age", ("age",), mean=(20.0,), spread=(5.0,)))
        tensor([[30.]])
    """
    numbers = z[:, : len(task.outputs)]
    mean, spread = (torch.tensor(v, dtype=z.dtype, device=z.device) for v in (task.mean or 0.0, task.spread or 1.0))
    return numbers * spread + mean


def as_standardised(z: Tensor, task: Task, other: Task) -> Tensor:
    """Return what a head puts out as one of the same task with another mean and spread would; other kinds stay.

    Args:
        z: what the head puts out, shape (N, task.width).
        task: as it was trained.
        other: the same, with the other mean and spread.

    Example:
        >>> a, b = (Regression("age", ("age",), mean=(20.0,), spread=(s,)) for s in (5.0, 10.0))
        >>> as_standardised(torch.tensor([[2.0]]), a, b)
        tensor([[1.]])
    """
    if not isinstance(task, Regression) or not isinstance(other, Regression):
        return z
    numbers = standardised(predicted_numbers(z, task), other)
    if task.loss != "gaussian":
        return numbers
    ratio = torch.tensor(task.spread or 1.0, dtype=z.dtype) / torch.tensor(other.spread or 1.0, dtype=z.dtype)
    return torch.cat([numbers, z[:, len(task.outputs) :] + 2 * ratio.log().to(z.device)], dim=1)


def predicted_spread(z: Tensor, task: Regression) -> Tensor:
    """Return the standard deviation that a head with a Gaussian likelihood states, in the labels' unit, (N, K).

    Example:
        >>> task = Regression("age", ("age",), loss="gaussian", mean=(20.0,), spread=(5.0,))
        >>> predicted_spread(torch.tensor([[2.0, 0.0]]), task)
        tensor([[5.]])
    """
    if task.loss != "gaussian":
        raise ValueError(f"task {task.name!r}: found the loss {task.loss!r}; expected gaussian, which states a spread")
    log_variance = z[:, len(task.outputs) :].clamp(*_LOG_VARIANCE)
    return (log_variance / 2).exp() * torch.tensor(task.spread or 1.0, dtype=z.dtype, device=z.device)


@in_full_precision
def regression_loss(z: Tensor, y: Tensor, task: Regression) -> LossTerm:
    r"""Loss of annotated numbers, in units of the training labels' spread: :math:`\tilde y = (y - mean) / spread`.

    - ``mse``: :math:`(z - \tilde y)^2`
    - ``huber`` (P. J. Huber, Annals of Mathematical Statistics 35, 1964): :math:`e^2 / 2` of an error e of at most
      ``delta``, else :math:`\delta (|e| - \delta / 2)`
    - ``gaussian`` (D. A. Nix, A. S. Weigend, "Estimating the mean and variance of the target probability distribution",
      ICNN 1994): :math:`(s + (z - \tilde y)^2 e^{-s}) / 2` with the head's log variance s, kept in [-7, 7]. It may be
      negative, as a log density may.

    Args:
        z: floating point, shape (N, K), or (N, 2 K) with ``gaussian``: numbers, then log variances.
        y: numbers, floating point, shape (N, K); NaN is not annotated.
        task: the task.

    Returns:
        the sum over annotated entries and their number.

    Example:
        >>> import torch
        >>> from mtlcore import Regression, regression_loss
        >>> age = Regression("age", ("age",), mean=(40.0,), spread=(10.0,))
        >>> regression_loss(torch.zeros(3, 1), torch.tensor([[60.0], [torch.nan], [40.0]]), age).mean()
        tensor(2.)
    """
    annotated = y == y
    target = standardised(y.to(z.dtype), task).nan_to_num(0.0)
    error = z[:, : len(task.outputs)] - target
    if task.loss == "huber":
        entries = F.huber_loss(z, target, reduction="none", delta=task.delta)
    elif task.loss == "gaussian":
        log_variance = z[:, len(task.outputs) :].clamp(*_LOG_VARIANCE)
        entries = (log_variance + error.square() * (-log_variance).exp()) / 2
    else:
        entries = error.square()
    total = torch.where(annotated, entries, torch.zeros_like(entries)).sum()
    return LossTerm(total, annotated.sum().to(z.dtype))
