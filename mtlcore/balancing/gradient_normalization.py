"""GradNorm: loss weights learned so that the objectives' gradient norms match."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtlcore.balancing.jacobian import global_jacobian
from mtlcore.balancing.weighted_losses import WeightedLosses


class GradNorm(WeightedLosses):
    r"""Learn weights that bring the objectives' gradients to a common scale, and let slow learners have more.

    .. math:: G_k = \lVert \nabla_W w_k L_k \rVert, \quad \bar G = \mathrm{mean}_k G_k, \quad
              r_k = \frac{L_k / L_k(0)}{\mathrm{mean}_j L_j / L_j(0)}, \qquad
              \min_w \sum_k \lvert G_k - \bar G \, r_k^\alpha \rvert

    where the target is held constant. Z. Chen, V. Badrinarayanan, C.-Y. Lee, A. Rabinovich, "GradNorm: Gradient
    Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML 2018, algorithm 1. One step of
    gradient descent on w a training step, then w is scaled to sum to m. Weights are kept at least 1e-3. Gradients
    are those of the global batch. L_k(0) is the loss of the first step that has something that counts for it; an
    objective that is absent takes no part in a step. A backward pass through the heads and the last shared layer
    per objective, and one through everything.

    Args:
        objectives: their names.
        shared: the shared parameters; W is the last of them that has two dimensions or more.
        lr: the rate of w.
        alpha: how strongly slow learners are favoured.

    Raises:
        ValueError: no shared parameter has two dimensions.
    """

    reads_progress: ClassVar[bool] = True
    in_shards: ClassVar[bool] = False

    @classmethod
    def build(
        cls, objectives: Sequence[str], shared: Sequence[Tensor], others: Sequence[Tensor], *, seed: int, **options: Any
    ) -> "GradNorm":
        """Build it; W is among the shared parameters."""
        return cls(objectives, shared, **options)

    def __init__(
        self, objectives: Sequence[str], shared: Sequence[Tensor], *, lr: float = 0.025, alpha: float = 1.5
    ) -> None:
        m = len(objectives)
        super().__init__(objectives, weights=torch.ones(m), first_losses=torch.full((m,), torch.nan))
        matrices = [parameter for parameter in shared if parameter.ndim > 1]
        if not matrices:
            raise ValueError("shared: found no parameter of two dimensions or more; the last shared layer is needed")
        self._last_shared_layer = matrices[-1]
        self.lr, self.alpha = lr, alpha

    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights."""
        # The last shared layer alone, as in the paper: a pass through the heads costs little.
        J, _ = global_jacobian(list(shares), [self._last_shared_layer], [], keep_graph=True)
        norms = J.norm(dim=1).to(losses.dtype)
        w, first = self._state["weights"], self._state["first_losses"]
        first = torch.where(first.isnan() & present, losses, first)

        def mean(values: Tensor) -> Tensor:
            return torch.where(present, values, 0.0).sum() / present.sum().clamp_min(1)

        progress = losses / first.clamp_min(1e-12)
        r = progress / mean(progress).clamp_min(1e-12)
        G = w * norms
        gradient = torch.sign(G - mean(G) * r**self.alpha) * norms
        updated = torch.where(present, w - self.lr * gradient, w).clamp_min(1e-3)
        # Weights that sum to m leave the learning rate its meaning.
        self._state = {"weights": len(w) * updated / updated.sum(), "first_losses": first}
        return w
