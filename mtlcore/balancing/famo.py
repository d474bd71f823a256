"""Fast adaptive multitask optimization (FAMO): loss weights that let all losses fall at one rate."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtlcore.balancing.weighted_losses import WeightedLosses

_LEAST = 1e-8
_DECAYS = 0.9, 0.999  # Adam's own


class FastAdaptiveMultitask(WeightedLosses):
    r"""Weigh losses so that all of them fall at the same rate.

    .. math:: w_k = m \, \frac{z_k / L_k}{\sum_j z_j / L_j}, \qquad z = \mathrm{softmax}(\xi)

    B. Liu, Y. Feng, P. Stone, Q. Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, algorithm 2; times m,
    so that the weights are 1 where all losses are alike. xi takes a step of Adam down
    :math:`\mathrm{d}z / \mathrm{d}\xi \cdot (\log L_k(t) - \log L_k(t + 1))`: what fell fast gets less. The paper asks
    for the loss of the same batch after the step, a forward pass more; here it is that of the next batch. An objective
    that is absent from one of the two keeps out of the step. One backward pass.

    Args:
        objectives: their names.
        lr: the rate of xi.
        weight_decay: of xi.
    """

    reads_progress: ClassVar[bool] = True

    def __init__(self, objectives: Sequence[str], *, lr: float = 0.025, weight_decay: float = 1e-3) -> None:
        m = len(objectives)
        super().__init__(
            objectives,
            logits=torch.zeros(m),
            first_moment=torch.zeros(m),
            second_moment=torch.zeros(m),
            updates=torch.zeros((), dtype=torch.int64),
            last=torch.full((m,), torch.nan),  # losses of the step before; NaN where absent
        )
        self.lr, self.weight_decay = lr, weight_decay

    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights."""
        state = self._state
        log_losses = losses.clamp_min(_LEAST).log()
        both = present & ~state["last"].isnan()
        self._learn(torch.where(both, state["last"].nan_to_num() - log_losses, 0.0), both.any())
        state["last"] = torch.where(present, log_losses, torch.nan)
        z = torch.softmax(state["logits"], dim=0)
        ratios = torch.where(present, z / losses.clamp_min(_LEAST), 0.0)
        return present.sum() * ratios / ratios.sum().clamp_min(_LEAST)

    def _learn(self, fell: Tensor, any_known: Tensor) -> None:
        """Take one step of Adam; none before there are two losses to compare."""
        state = self._state
        z = torch.softmax(state["logits"], dim=0)
        slope = z * (fell - (z * fell).sum()) + self.weight_decay * state["logits"]
        first, second = (
            decay * state[name] + (1 - decay) * value
            for name, decay, value in zip(
                ("first_moment", "second_moment"), _DECAYS, (slope, slope.square()), strict=True
            )
        )
        updates = state["updates"] + 1
        unbiased = (m / (1 - decay**updates) for m, decay in zip((first, second), _DECAYS, strict=True))
        mean, square = unbiased
        found = {
            "logits": state["logits"] - self.lr * mean / (square.sqrt() + _LEAST),
            "first_moment": first,
            "second_moment": second,
            "updates": updates,
        }
        for name, value in found.items():
            state[name] = torch.where(any_known, value.to(state[name].dtype), state[name])
