"""IMTL-L: learned scales that bring all losses to one size."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtlcore.balancing.weighted_losses import WeightedLosses


class ImpartialLosses(WeightedLosses):
    r"""Scale every loss to the same size, by a scale that is learned.

    .. math:: \sum_k e^{s_k} L_k - s_k

    L. Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021, section 3.2. Every s_k starts at 0, the weights
    of plain training, and follows its gradient exp(s_k) L_k - 1 by gradient descent with a rate of its own. An
    objective that nothing in the batch counts for keeps its s_k. One backward pass.

    Args:
        objectives: their names.
        lr: the rate of s.
    """

    reads_progress: ClassVar[bool] = True

    def __init__(self, objectives: Sequence[str], *, lr: float = 0.01) -> None:
        super().__init__(objectives, log_scale=torch.zeros(len(objectives)))
        self.lr = lr

    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights."""
        s = self._state["log_scale"]
        weights = torch.exp(s)
        self._state["log_scale"] = torch.where(present, s - self.lr * (weights * losses - 1), s)
        return weights
