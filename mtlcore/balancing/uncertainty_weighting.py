"""Uncertainty weighting: each loss divided by a learned variance."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtlcore.balancing.weighted_losses import WeightedLosses


class UncertaintyWeighting(WeightedLosses):
    r"""Weigh each objective by its learned homoscedastic uncertainty.

    .. math:: \sum_k e^{-s_k} L_k + s_k / 2, \qquad s_k = \log \sigma_k^2

    A. Kendall, Y. Gal, R. Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics", CVPR 2018, equation 10 (classification). Every s_k starts at 0, the weights of plain training, and
    follows its gradient 1/2 - exp(-s_k) L_k by gradient descent with a rate of its own, not by the network's
    optimiser: weight decay would pull the weights back to 1. An objective that nothing in the batch counts for
    keeps its s_k. One backward pass.

    Args:
        objectives: their names.
        lr: the rate of s.
    """

    reads_progress: ClassVar[bool] = True

    def __init__(self, objectives: Sequence[str], *, lr: float = 0.01) -> None:
        super().__init__(objectives, log_variance=torch.zeros(len(objectives)))
        self.lr = lr

    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights."""
        s = self._state["log_variance"]
        weights = torch.exp(-s)
        # For the next step: this one's gradient is taken with the weights that the losses were seen with.
        self._state["log_variance"] = torch.where(present, s - self.lr * (0.5 - weights * losses), s)
        return weights
