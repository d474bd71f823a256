"""The optimiser and its learning rate. The rate is a function of the step alone, so it has no state to lose."""

import math

import torch
from torch import nn

from pipelines.case import Optimizer, Training


def build_optimizer(settings: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser that the case file names."""
    if settings.name == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        network.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def learning_rate(training: Training, step: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    lr = training.optimizer.lr
    if training.schedule == "constant":
        return lr
    return lr * 0.5 * (1 + math.cos(math.pi * step / training.steps))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Let the optimiser's next step take a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
