"""Heads, linear or MLP: from features to a task's logits."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlcore.tasks import Task


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


class OrderedThresholds(nn.Module):
    r"""Logits of P(y > k), shape (N, C - 1), from one score an input: :math:`z_k = s - \theta_k`, theta rising.

    All classes share the score, as in CORAL and in proportional odds; that thresholds rise is built in: each is the one
    before plus a softplus. They start where all classes are as likely at a score of 0.

    Example:
        >>> OrderedThresholds(3)(torch.zeros(1, 1)).sigmoid()
        tensor([[0.6667, 0.3333]], grad_fn=<SigmoidBackward0>)
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        theta = torch.logit(torch.arange(1, classes, dtype=torch.float64) / classes)
        self.first = nn.Parameter(theta[:1].float())
        self.steps = nn.Parameter(torch.log(torch.expm1(theta.diff())).float())

    def forward(self, score: Tensor) -> Tensor:
        """Return the logits, shape (N, C - 1), of scores, shape (N, 1)."""
        return score - torch.cat([self.first, self.first + F.softplus(self.steps).cumsum(dim=0)])


def _ordinal_head(features: int, task: Task, hidden: Sequence[int]) -> nn.Module:
    return nn.Sequential(build_head(features, 1, hidden), OrderedThresholds(len(task.outputs)))


# The kinds whose head is not a logit an output.
_OF_KIND: dict[str, Callable[[int, Task, Sequence[int]], nn.Module]] = {"ordinal": _ordinal_head}


def head_of(task: Task, features: int, hidden: Sequence[int] = ()) -> nn.Module:
    """Build a task's head: outputs of shape (N, task.width); see :func:`build_head`.

    Raises:
        ValueError: a width is not positive.

    Example:
        >>> from mtlcore import Ordinal
        >>> head_of(Ordinal("pain", ("none", "mild", "strong")), 4)(torch.zeros(2, 4)).shape
        torch.Size([2, 2])
    """
    build = _OF_KIND.get(task.kind)
    return build_head(features, task.width, hidden) if build is None else build(features, task, hidden)
