"""Head sharing: how much two heads rely on the same hidden units."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from mtlcore.distributed import summed_over_workers
from mtlcore.tasks import Multiclass, Task


def unit_importance(weight: Tensor, h: Tensor) -> Tensor:
    r"""Return how much a linear layer reads from each of its inputs, over a batch.

    .. math:: I_j = \lVert W_{:,j} \rVert_2 \cdot \mathrm{std}(h_j)

    the standard deviation of what unit j adds to the layer's outputs. A large weight on a unit that never moves tells
    the head nothing, nor does a unit that moves and is not read: each factor alone would mislead.

    Args:
        weight: floating point, shape (outputs, H).
        h: the layer's inputs, floating point, shape (..., H). Where ``torch.distributed`` is initialised, this
            worker's shard of the batch: the deviation is the whole batch's, and every worker must call it.

    Returns:
        float64, shape (H,), not negative.

    Raises:
        ValueError: the last dimensions differ.

    Example:
        >>> import torch
        >>> from mtlcore import unit_importance
        >>> unit_importance(torch.tensor([[3.0, 3.0, 0.0], [4.0, 4.0, 0.0]]), torch.tensor([[1.0, 7, 0], [3.0, 7, 9]]))
        tensor([5., 0., 0.], dtype=torch.float64)
    """
    if weight.shape[-1] != h.shape[-1]:
        raise ValueError(f"h: found {h.shape[-1]} units; expected the layer's {weight.shape[-1]}")
    norm: Tensor = torch.linalg.vector_norm(weight.detach().double(), dim=0)
    return norm * _deviation(h)


def head_sharing(
    heads: Mapping[str, nn.Module], h: Mapping[str, Tensor], tasks: Sequence[Task]
) -> dict[tuple[str, str], float]:
    r"""Measure how far each two heads use the same hidden units: one way to see that tasks are related.

    .. math:: S_{AB} = \sum_j \min\left(\frac{I^A_j}{\sum_k I^A_k}, \frac{I^B_j}{\sum_k I^B_k}\right)

    with a head's :func:`unit_importance` I, from its first linear layer: the share of what the two heads read that
    they read from the same units (1 minus Bray and Curtis' dissimilarity). 1: they weigh the units alike; 0: no unit
    serves both. Which way a unit is used, for or against, does not count. Caruana, "Multitask Learning", 1997, on how
    tasks that are related come to share hidden units, and unrelated ones keep to their own.

    Two heads that were just drawn at random share much already, since both read every unit a little. So compare with
    the same pair's value before training, not with 0.

    Adding the same row to all of a softmax's weights changes no prediction: where a multiclass task's head is one
    linear layer, each unit's weights are taken less their mean over classes.

    Args:
        heads: by task, the module that goes from features to the task's outputs.
        h: by task, the features that went into its head, shape (..., H).
        tasks: the tasks, two or more.

    Returns:
        by pair of tasks, in their order: the overlap in [0, 1]. NaN where there are no same hidden units to speak of:
        the heads were given different tensors (soft sharing, experts), a head has no linear layer that fits its
        input, or reads nothing (a softmax over one class).

    Example:
        >>> import torch
        >>> from mtlcore import Multilabel, head_sharing
        >>> a, b = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)
        >>> a.weight.data = torch.tensor([[1.0, 1.0, 0.0]])
        >>> b.weight.data = torch.tensor([[0.0, -1.0, 1.0]])
        >>> h = torch.eye(3)
        >>> head_sharing({"a": a, "b": b}, {"a": h, "b": h}, [Multilabel("a", ("x",)), Multilabel("b", ("y",))])
        {('a', 'b'): 0.5}
    """
    shares = {task.name: _unit_shares(heads[task.name], h[task.name], task) for task in tasks}
    overlaps = {}
    for a, b in combinations((task.name for task in tasks), 2):
        share_a, share_b = shares[a], shares[b]
        # The same tensor, not an equal one: units of two trunks are numbered alike and are not the same.
        if h[a] is h[b] and share_a is not None and share_b is not None:
            overlaps[a, b] = float(torch.minimum(share_a, share_b).sum().clamp(max=1))
        else:
            overlaps[a, b] = torch.nan
    return overlaps


def _unit_shares(head: nn.Module, h: Tensor, task: Task) -> Tensor | None:
    """Return the share of what a head reads that it reads from each unit, (H,); None where it has no linear layer."""
    first = next((module for module in head.modules() if isinstance(module, nn.Linear)), None)
    if first is None or first.in_features != h.shape[-1]:
        return None
    weight = first.weight.detach()
    if isinstance(task, Multiclass) and sum(isinstance(module, nn.Linear) for module in head.modules()) == 1:
        weight = weight - weight.mean(dim=0)
    importance = unit_importance(weight, h)
    return importance / importance.sum()


def _deviation(h: Tensor) -> Tensor:
    # By moments, which add up over workers; in float64, where their difference keeps its digits.
    values = h.detach().double().reshape(-1, h.shape[-1])
    moments = torch.cat([values.sum(dim=0), values.square().sum(dim=0), values.new_tensor([len(values)])])
    summed_over_workers(moments)
    units = h.shape[-1]
    mean, mean_square = moments[:units] / moments[-1], moments[units:-1] / moments[-1]
    return (mean_square - mean.square()).clamp(min=0).sqrt()
