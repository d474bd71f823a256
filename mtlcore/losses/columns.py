"""Columns of many tensors as one gather: what lets the losses of many pairs be a few products instead of a loop."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.tasks import MISSING, Multiclass, Task

# Fills up the logits of classes that there are not: their probability is 0, and so is its gradient.
NO_CLASS = -1e30


class Spread(torch.autograd.Function):
    """Select columns of a tensor, each as often as is asked for; the gradient of a column is the sum over its uses.

    ``index_select`` adds up such gradients in any order on a GPU. Here the uses of each column are gathered side by
    side and summed, in the same order every time.

    Example:
        >>> import torch
        >>> places, uses = torch.tensor([1, 0, 1]), uses_of([1, 0, 1], columns=2)
        >>> Spread.apply(torch.tensor([[5.0, 6.0]]), places, uses)
        tensor([[6., 5., 6.]])
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, uses: Tensor) -> Tensor:
        """Return columns of x.

        Args:
            ctx: autograd's.
            x: shape (N, columns).
            places: which columns, int64, shape (n,).
            uses: as :func:`uses_of` returns it.
        """
        ctx.save_for_backward(places, uses)
        return x.index_select(1, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """See the class."""
        places, uses = ctx.saved_tensors
        (gradient,) = gradients
        if gradient.device.type == "cpu":  # one after the other there, and without what fills up
            return gradient.new_zeros(len(gradient), len(uses)).index_add(1, places, gradient), None, None
        by_use = F.pad(gradient, (0, 1)).index_select(1, uses.flatten())
        return by_use.view(len(gradient), *uses.shape).sum(dim=-1), None, None


def uses_of(places: Sequence[int], columns: int) -> Tensor:
    """Return where each column is used, int64, shape (columns, most uses), filled up with ``len(places)``."""
    used: list[list[int]] = [[] for _ in range(columns)]
    for use, place in enumerate(places):
        used[place].append(use)
    most = max(map(len, used), default=0)
    filled = [of_column + [len(places)] * (most - len(of_column)) for of_column in used]
    return torch.tensor(filled, dtype=torch.int64).reshape(columns, most)


def label_columns(tasks: Sequence[Task]) -> dict[str, int]:
    """Return by task where its labels begin in :func:`flat_labels`."""
    firsts, columns = {}, 0
    for task in sorted(tasks, key=lambda task: not isinstance(task, Multiclass)):
        firsts[task.name], columns = columns, columns + (1 if isinstance(task, Multiclass) else len(task.outputs))
    return firsts


def flat_labels(tasks: Sequence[Task], labels: Mapping[str, Tensor]) -> Tensor:
    """Return the labels of tasks side by side, int64: multiclass ones, multilabel ones, and a missing one at the end.

    Args:
        tasks: one at least.
        labels: by task, as :mod:`mtlcore.tasks` says.
    """
    columns = []
    if classes := [labels[task.name].long() for task in tasks if isinstance(task, Multiclass)]:
        columns.append(torch.stack(classes, dim=1))
    if of_labels := [labels[task.name] for task in tasks if not isinstance(task, Multiclass)]:
        columns.append(torch.cat(of_labels, dim=1).long())
    columns.append(torch.full_like(columns[0][:, :1], MISSING))
    return torch.cat(columns, dim=1)


def alike(sizes: Sequence[int]) -> list[list[int]]:
    """Divide numbered things into stacks in which all are filled up to the largest: none by more than eight times.

    Small ones, of 256 numbers at most after they are filled up, may be filled up further.

    Args:
        sizes: how many numbers each has.

    Example:
        >>> alike([10, 120, 4, 5000])
        [[3], [1, 0, 2]]
    """
    stacks: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        largest = sizes[stacks[-1][0]] if stacks else 0
        if stacks and (largest <= _SMALL or largest <= _MOST_FILLING * sizes[i]):
            stacks[-1].append(i)
        else:
            stacks.append([i])
    return stacks


_SMALL, _MOST_FILLING = 256, 8
