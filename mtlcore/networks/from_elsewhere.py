"""Validation of backbones that are not built in, before they are trained."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def validate_backbone(
    backbone: nn.Module, input_shape: Sequence[int], name: str, *, features: int | None = None
) -> int:
    """Try a backbone on two inputs and make it ready to train; return its number of features.

    - It has to map (N, ...) to (N, features).
    - Parameters that no feature depends on (a pooler that is not used, a mask token) are frozen: data-parallel
      training would wait for their gradients.
    - BatchNorm is told of, once: its statistics are those of the worker's shard of the batch, so the steps depend on
      the number of workers. On GPUs several workers get SyncBatchNorm; it does not run on CPUs.

    Args:
        backbone: any module; changed in place, and left in training mode.
        input_shape: the shape of one input.
        name: what the backbone is called in messages.
        features: the number that it says to have.

    Raises:
        ValueError: it does not take such inputs, or what it returns are not features.
    """
    shape = tuple(input_shape)
    # In evaluation mode: in training mode BatchNorm would take two inputs of zeros into its statistics.
    backbone.eval()
    try:
        # Two inputs: with one, a module that drops the batch's dimension would not be noticed.
        h = backbone(torch.zeros(2, *shape))
    except Exception as error:  # whatever somebody's module raises
        raise ValueError(f"backbone: {name!r} does not take inputs of shape {shape}: {_first_line(error)}") from None
    if not isinstance(h, Tensor) or h.dim() != 2 or len(h) != 2:
        found = f"a tensor of shape {tuple(h.shape)}" if isinstance(h, Tensor) else f"a {type(h).__name__}"
        raise ValueError(f"backbone: {name!r} makes {found} of 2 inputs; expected a tensor of shape (2, features)")
    if features is not None and features != h.shape[1]:
        raise ValueError(f"backbone: {name!r} says it has {features} features and returns {h.shape[1]}")
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    if trained and h.requires_grad:
        for parameter, gradient in zip(trained, torch.autograd.grad(h.sum(), trained, allow_unused=True), strict=True):
            parameter.requires_grad_(gradient is not None)
    backbone.train()
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()):
        warnings.warn(
            f"backbone {name!r} has BatchNorm: its statistics are those of the worker's shard of the batch, so the "
            "steps depend on the number of workers; on GPUs several workers get SyncBatchNorm",
            stacklevel=1,  # one place, so that Python shows it once
        )
    return h.shape[1]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
