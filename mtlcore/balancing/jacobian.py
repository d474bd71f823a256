"""The Jacobian of the objectives with respect to the shared parameters, over the global batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlcore.distributed import summed_over_workers


def global_jacobian(
    shares: Sequence[Tensor], shared: Sequence[Tensor], others: Sequence[Tensor], *, keep_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the objectives' gradients over the global batch: one by one of the shared parameters, summed of others.

    A backward pass an objective, and one collective of m * n + k numbers. The passes accumulate into no ``.grad``,
    so hooks that wait for that, such as DistributedDataParallel's, stay silent.

    Args:
        shares: m scalars, this worker's shares of the objectives.
        shared: parameters, n numbers in all.
        others: parameters, k numbers in all.
        keep_graph: keep the graph for another backward pass.

    Returns:
        The Jacobian of the shared parameters, shape (m, n), and the summed gradient of the others, shape (k,); zero
        where an objective does not depend on a parameter; in float32 where parameters have fewer bits.
    """
    parameters = [*shared, *others]
    m, n, k = len(shares), sum(p.numel() for p in shared), sum(p.numel() for p in others)
    # One tensor, of which both results are views: one collective, whatever the number of parameters.
    flat = torch.zeros(m * n + k, dtype=jacobian_dtype(parameters), device=parameters[0].device)
    jacobian, summed = flat[: m * n].view(m, n), flat[m * n :]
    for i, share in enumerate(shares):
        gradients = torch.autograd.grad(share, parameters, retain_graph=keep_graph or i < m - 1, allow_unused=True)
        _add(jacobian[i], gradients[: len(shared)], shared)
        _add(summed, gradients[len(shared) :], others)
    summed_over_workers(flat)
    return jacobian, summed


def jacobian_dtype(parameters: Sequence[Tensor]) -> torch.dtype:
    """Return float32, or float64 where a parameter is: gradients of fewer bits are not compared in these."""
    return torch.float64 if any(parameter.dtype is torch.float64 for parameter in parameters) else torch.float32


def add_to_grad(vector: Tensor, parameters: Sequence[Tensor]) -> None:
    """Add consecutive parts of a vector to the parameters' ``.grad``, as a backward pass would."""
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, part in zip(parameters, torch.split(vector, sizes), strict=True):
        gradient = part.view_as(parameter).to(parameter.dtype)
        parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient


def _add(vector: Tensor, gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> None:
    start = 0
    for gradient, parameter in zip(gradients, parameters, strict=True):
        if gradient is not None:
            vector[start : start + parameter.numel()] += gradient.flatten()
        start += parameter.numel()
