"""Heads, linear or MLP: from features to a task's logits."""

from collections.abc import Sequence

from torch import nn


def build_head(features: int, outputs: int, hidden: Sequence[int] = ()) -> nn.Module:
    """Build a head: linear, or an MLP where there are hidden layers.

    Args:
        features: the number of features that go in, shape (N, features).
        outputs: the task's classes or labels; logits of shape (N, outputs) come out.
        hidden: the width of each hidden layer, with ReLU after each; none for a linear head.

    Raises:
        ValueError: a width is not positive.

    Example:
        >>> import torch
        >>> from mtlcore.networks.heads import build_head
        >>> build_head(16, 3, hidden=(8,))(torch.zeros(2, 16)).shape
        torch.Size([2, 3])
    """
    if any(width < 1 for width in hidden):
        raise ValueError(f"head.hidden: found {list(hidden)}; expected widths of at least 1")
    if not hidden:
        return nn.Linear(features, outputs)
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, outputs))
