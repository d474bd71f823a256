"""Scalarizations of the losses: their geometric mean (GLS), and a smooth maximum (STCH)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtlcore.balancing.weighted_losses import WeightedLosses

_LEAST = 1e-8


class GeometricLosses(WeightedLosses):
    r"""Descend the geometric mean of the losses, which no loss's scale changes the minimum of.

    .. math:: L = \Big(\prod_k L_k\Big)^{1/m}, \qquad w_k = L / L_k

    S. Chennupati et al., "MultiNet++: Multi-stream feature aggregation and geometric loss strategy for multi-task
    learning", CVPR Workshops 2019 (GLS); times m, so that the weights are 1 where all losses are alike. The mean runs
    over the objectives that are present. One backward pass.

    Args:
        objectives: their names.
    """

    reads_progress: ClassVar[bool] = True

    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights."""
        log_losses = torch.where(present, losses.clamp_min(_LEAST).log(), 0.0)
        mean = log_losses.sum() / present.sum().clamp_min(1)
        return torch.where(present, (mean - log_losses).exp(), 0.0)


class SmoothTchebycheff(WeightedLosses):
    r"""Descend a smooth maximum of the losses: what is worst off counts most.

    .. math:: L = \mu \log \sum_k e^{L_k / (m \mu)}, \qquad w = m \, \mathrm{softmax}(L_k / (m \mu))

    X. Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024, with even preferences
    and an ideal point of 0; times m squared, so that the weights sum to m. Task weights are the preferences. One
    backward pass.

    Args:
        objectives: their names.
        mu: the smaller, the nearer to the maximum.
    """

    reads_progress: ClassVar[bool] = True

    def __init__(self, objectives: Sequence[str], *, mu: float = 0.1) -> None:
        super().__init__(objectives)
        if not mu > 0:
            raise ValueError(f"mu: found {mu}; expected a positive number")
        self.mu = mu

    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights."""
        m = present.sum().clamp_min(1)
        scaled = (losses / (m * self.mu)).masked_fill(~present, -torch.inf)
        return m * torch.where(present, torch.softmax(scaled, dim=0), 0.0)
