"""The optimiser that a case names."""

import torch
from torch import nn

from pipelines.case.training import Optimizer


def build_optimizer(settings: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser that the case file names."""
    if settings.name == "adamw":
        # One kernel for all parameters; the CPU's kernels stay what they were, and so do its bits.
        fused = all(parameter.is_cuda for parameter in network.parameters()) or None
        return torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay, fused=fused)
    return torch.optim.SGD(
        network.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Let the optimiser's next step take a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
