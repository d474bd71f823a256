"""Random loss weighting (RLW): weights drawn anew at each step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtlcore.balancing.seeds import seed_of_step
from mtlcore.balancing.weighted_losses import WeightedLosses


class RandomLossWeighting(WeightedLosses):
    r"""Weigh the objectives at random, anew in every step.

    .. math:: w = m \, \mathrm{softmax}(z), \qquad z \sim N(0, I_m)

    B. Lin, F. Ye, Y. Zhang, I. W. Tsang, "Reasonable Effectiveness of Random Weighting: A Litmus Test for
    Multi-Task Learning", TMLR 2022; times m, so that the weights are 1 on average and the learning rate keeps its
    meaning. The weights are a function of the seed and the step alone, so the same on all workers and after
    resuming. One backward pass.

    Args:
        objectives: their names.
        seed: of the weights.
    """

    @classmethod
    def build(
        cls, objectives: Sequence[str], shared: Sequence[Tensor], others: Sequence[Tensor], *, seed: int, **options: Any
    ) -> "RandomLossWeighting":
        """Build it with the seed."""
        return cls(objectives, seed=seed, **options)

    def __init__(self, objectives: Sequence[str], *, seed: int = 0) -> None:
        super().__init__(objectives, step=torch.zeros((), dtype=torch.int64))
        self.seed = seed

    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights."""
        # On the CPU, whatever the device: another device draws other numbers of the same seed.
        generator = torch.Generator().manual_seed(seed_of_step(self.seed, int(self._state["step"])))
        z = torch.randn(len(self.objectives), generator=generator)
        self._state["step"] = self._state["step"] + 1
        return (len(z) * torch.softmax(z, dim=0)).to(losses.device)
