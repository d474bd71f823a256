"""What a head's outputs say: probabilities, or numbers in the labels' unit."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mtlcore.losses.ordinal import class_log_probabilities
from mtlcore.losses.regression import predicted_numbers
from mtlcore.tasks import Task

_HALF = 0.5
_BY_KIND: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "multiclass": lambda z, _: torch.softmax(z, dim=1),
    "multilabel": lambda z, _: torch.sigmoid(z),
    "ordinal": lambda z, _: class_log_probabilities(z).exp(),
    "regression": predicted_numbers,
}


def answer(z: Tensor, task: Task) -> Tensor:
    """Return what a head's outputs say.

    Args:
        z: what the task's head puts out, floating point, shape (N, task.width).
        task: the task.

    Returns:
        shape (N, outputs): the probability of each class or label, or the numbers of a regression task.

    Example:
        >>> from mtlcore import Ordinal, Regression, answer
        >>> answer(torch.zeros(1, 1), Regression("age", ("age",), mean=(20.0,), spread=(5.0,)))
        tensor([[20.]])
        >>> answer(torch.tensor([[2.0, -2.0]]), Ordinal("pain", ("none", "mild", "strong"))).argmax()
        tensor(1)
    """
    return _BY_KIND[task.kind](z, task)


def decided_class(probabilities: Tensor, task: Task) -> Tensor:
    """Return the class that is decided on, int64 (N,): the most probable, or of an ordinal task the median.

    The median class is the one of the least expected distance to the true one, and the one that ordinal metrics score
    (as many classes as are exceeded with a probability above one half).

    Args:
        probabilities: of the classes, as :func:`answer` returns them, shape (N, C).
        task: multiclass or ordinal.

    Example:
        >>> from mtlcore import Ordinal, decided_class
        >>> decided_class(torch.tensor([[0.4, 0.25, 0.35]]), Ordinal("pain", ("none", "mild", "strong")))
        tensor([1])
    """
    if task.kind != "ordinal":
        return probabilities.argmax(dim=1)
    above = 1 - probabilities[:, :-1].double().cumsum(dim=1)
    return (above > _HALF).sum(dim=1)
