"""Dynamic weight average (DWA): loss weights from how fast each loss falls."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtlcore.balancing.weighted_losses import WeightedLosses


class DynamicWeightAverage(WeightedLosses):
    r"""Weigh more what has lately fallen less.

    .. math:: w_k(t) = m \, \mathrm{softmax}_k(r_k(t - 1) / T), \qquad r_k(t - 1) = L_k(t - 1) / L_k(t - 2)

    S. Liu, E. Johns, A. J. Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equation 7. There
    t counts epochs and L_k(t) is an epoch's mean loss; where datasets are mixed there is no epoch, so t counts
    periods of a fixed number of steps. In the first two periods all weights are 1. A step without anything that
    counts for an objective is left out of its mean. One backward pass.

    Args:
        objectives: their names.
        temperature: T; the larger, the more even the weights.
        period: steps that a mean runs over.
    """

    reads_progress: ClassVar[bool] = True

    def __init__(self, objectives: Sequence[str], *, temperature: float = 2.0, period: int = 100) -> None:
        # Sums over a whole period, of which small differences are divided: float32 would round them away.
        none = torch.zeros(len(objectives), dtype=torch.float64)
        super().__init__(
            objectives,
            sums=none.clone(),  # of the present period
            counts=none.clone(),
            last=none.clone(),  # L_k(t - 1)
            before=none.clone(),  # L_k(t - 2)
            step=torch.zeros((), dtype=torch.int64),
        )
        self.temperature, self.period = temperature, period

    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights."""
        state, m = self._state, len(self.objectives)
        # Before two periods have ended there is no rate of descent: equal ratios weigh all objectives alike.
        ratios = torch.where(state["before"] > 0, state["last"] / state["before"].clamp_min(1e-12), 1.0)
        weights = m * torch.softmax(ratios / self.temperature, dim=0)
        state["sums"] = state["sums"] + losses * present
        state["counts"] = state["counts"] + present
        state["step"] = state["step"] + 1
        ended = state["step"] % self.period == 0
        mean = torch.where(state["counts"] > 0, state["sums"] / state["counts"].clamp_min(1), state["last"])
        state["before"] = torch.where(ended, state["last"], state["before"])
        state["last"] = torch.where(ended, mean, state["last"])
        # By where and not by if: a branch would make the host wait for the device in every step.
        for name in ("sums", "counts"):
            state[name] = torch.where(ended, 0.0, state[name])
        return weights.float()
