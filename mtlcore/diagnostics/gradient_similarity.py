"""Gradient agreement: cosine similarity of the tasks' gradients on their shared parameters."""

from collections.abc import Iterable, Mapping
from itertools import combinations

import torch
from torch import Tensor

from mtlcore.distributed import SumOverWorkers


def gradient_agreement(losses: Mapping[str, Tensor], parameters: Iterable[Tensor]) -> dict[tuple[str, str], float]:
    r"""Measure the cosine between two tasks' gradients with respect to the parameters that both losses depend on.

    .. math:: \cos(\nabla_\phi L_A, \nabla_\phi L_B), \quad \phi \text{ shared}

    1: a small step that lowers one loss lowers the other as much as one can; 0: the two are indifferent to each
    other; below 0 they conflict. Caruana, "Multitask Learning", 1997, asks how a network finds out that tasks are
    related; the cosine as the measure is Du et al.'s ("Adapting Auxiliary Losses Using Gradient Similarity", 2018)
    and Yu et al.'s ("Gradient Surgery for Multi-Task Learning", NeurIPS 2020).

    It is the whole batch's gradient, not an input's: inputs annotated for one task have no gradient of the other's
    loss, and so tasks with disjoint inputs meet only in the sum. That sum is an estimate: noise of a small batch
    pulls the cosine towards 0.

    What is shared is found, not declared: the parameters that both losses reach, so heads drop out by themselves. No
    ``.grad`` is written, no random number drawn, and the graph is kept for a ``backward()`` that follows: training
    continues as if nothing had been measured. It costs one backward pass and one copy of the shared gradient per task.

    Where ``torch.distributed`` is initialised the gradients are added over all workers, so every worker must call it,
    with its own share of each loss; the result is the same on all of them, and for any number of them.

    Args:
        losses: by task, a scalar: the loss over (this worker's shard of) the batch. A cosine has no scale, so it may be
            a sum or, with a divisor that all workers share, a mean.
        parameters: the network's parameters, those of the heads among them or not. Frozen ones take no part.

    Returns:
        by pair of tasks, in the order of ``losses``: the cosine in [-1, 1]; NaN where two tasks share no parameter, or
        a gradient is 0 (no input annotated for a task).

    Example:
        >>> import torch
        >>> from mtlcore import gradient_agreement
        >>> w = torch.tensor([1.0, 1.0], requires_grad=True)
        >>> found = gradient_agreement({"a": w[0] ** 2, "b": w.sum(), "c": -w[0]}, [w])
        >>> {pair: round(cosine, 6) for pair, cosine in found.items()}
        {('a', 'b'): 0.707107, ('a', 'c'): -1.0, ('b', 'c'): -0.707107}
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = {
        task: _added_over_workers(torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True))
        for task, loss in losses.items()
    }
    cosines = {}
    for a, b in combinations(losses, 2):
        shared = [
            (of_a, of_b)
            for of_a, of_b in zip(gradients[a], gradients[b], strict=True)
            if of_a is not None and of_b is not None
        ]
        # NaN and not 0: nothing was compared, which is no finding that the tasks are indifferent.
        if not shared:
            cosines[a, b] = torch.tensor(torch.nan, dtype=torch.float64)
            continue
        products = torch.stack(
            [torch.stack([_dot(of_a, of_b), _dot(of_a, of_a), _dot(of_b, of_b)]) for of_a, of_b in shared]
        )
        between, length_a, length_b = products.sum(dim=0)
        cosines[a, b] = (between / (length_a.sqrt() * length_b.sqrt())).clamp(-1, 1)
    return {pair: float(cosine) for pair, cosine in cosines.items()}


def _dot(a: Tensor, b: Tensor) -> Tensor:
    # In float64: millions of products of small gradients, whose sum decides between agreement and conflict.
    return torch.dot(a.flatten().double(), b.flatten().double())


def _added_over_workers(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    # Summed before the cosine is taken: that of a shard is another, noisier number, and their mean is not the batch's.
    SumOverWorkers([gradient for gradient in gradients if gradient is not None]).wait()
    return gradients
