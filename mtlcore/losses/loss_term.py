"""A loss as a sum and a count, so that its value does not depend on how many workers share the batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class LossTerm:
    """One loss over the worker's shard of a batch.

    The loss over a batch is ``sum(totals) / sum(counts)``, both sums over all workers.

    Attributes:
        total: scalar, the summed loss; always part of the autograd graph, with zero gradient where nothing is
            annotated.
        count: scalar without gradient, what the sum over the whole batch is divided by.

    Example:
        >>> LossTerm(torch.tensor(6.0), torch.tensor(4.0)).mean()
        tensor(1.5000)
    """

    total: Tensor
    count: Tensor

    def mean(self) -> Tensor:
        """Return the loss of this part alone: 0 where nothing counts."""
        return self.total / torch.where(self.count > 0, self.count, torch.ones_like(self.count))


class TaskTerm(NamedTuple):
    """A loss that teaches one task beside its labels; it belongs to the task's objective.

    Attributes:
        task: the task's name.
        weight: of the loss, beside the task's own weight.
        term: its sum and count.

    Example:
        >>> TaskTerm("species", 0.5, LossTerm(torch.tensor(6.0), torch.tensor(4.0))).term.mean()
        tensor(1.5000)
    """

    task: str
    weight: float
    term: LossTerm


def in_full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Run a loss outside autocast, its half-precision floating-point arguments raised to float32."""

    # Sums of thousands of entries and logarithms of small probabilities lose all digits in 8 or 11 bits.
    def raised(value: object) -> object:
        if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
            return value.float()
        return value

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(*map(raised, args), **{k: raised(v) for k, v in kwargs.items()})  # type: ignore[arg-type]

    return wrapper
