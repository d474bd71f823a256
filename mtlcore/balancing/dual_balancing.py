"""Dual balancing (DB-MTL): logarithms of the losses, and gradients of one length."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtlcore.balancing.balancer import Balancer
from mtlcore.balancing.jacobian import add_to_grad, global_jacobian, jacobian_dtype
from mtlcore.distributed import summed_over_workers
from mtlcore.losses.joint_loss import JointLossValue

_LEAST = 1e-8


class DualBalancing(Balancer):
    r"""Bring losses to one scale by their logarithms, and the gradients of the shared parameters to one length.

    .. math:: g_k = \beta \, g_k + (1 - \beta) \nabla \log L_k, \qquad
              g = \max_j \lVert g_j \rVert \sum_k \frac{g_k}{\lVert g_k \rVert}

    B. Lin et al., "Dual-Balancing for Multi-Task Learning", arXiv 2308.12029 (2023), algorithm 1, with a constant beta;
    g_k begins as the first gradient. Other parameters get the gradient of the sum of logarithms. An objective that is
    absent keeps its g_k and takes no part in the step. A backward pass per objective; memory for 2 m gradients of the
    shared parameters.

    Args:
        objectives: their names.
        shared: the parameters that all objectives share.
        others: all other parameters that are trained.
        beta: how much of the average stays, in [0, 1).
    """

    reads_progress: ClassVar[bool] = True

    @classmethod
    def build(
        cls, objectives: Sequence[str], shared: Sequence[Tensor], others: Sequence[Tensor], *, seed: int, **options: Any
    ) -> "DualBalancing":
        """Build it with both kinds of parameters."""
        return cls(objectives, shared, others, **options)

    def __init__(
        self, objectives: Sequence[str], shared: Sequence[Tensor], others: Sequence[Tensor], *, beta: float = 0.9
    ) -> None:
        super().__init__(objectives)
        if not 0 <= beta < 1:
            raise ValueError(f"beta: found {beta}; expected a number in [0, 1)")
        self._shared = [parameter for parameter in shared if parameter.requires_grad]
        taken = {id(parameter) for parameter in self._shared}
        self._others = [p for p in others if p.requires_grad and id(p) not in taken]
        numbers = sum(parameter.numel() for parameter in self._shared)
        m, dtype = len(self.objectives), jacobian_dtype(self._shared)
        self._state = {"average": torch.zeros(m, numbers, dtype=dtype), "seen": torch.zeros(m, dtype=torch.bool)}
        self.beta = beta

    def backward(self, value: JointLossValue) -> None:
        """Find the gradients of the logarithms over the global batch, and add what they come to."""
        self._check_objectives(value)
        shares, there = zip(*value.objectives.values(), strict=True)
        with torch.autocast(shares[0].device.type, enabled=False):
            losses = summed_over_workers(torch.stack([share.detach().float() for share in shares]))
            of_logarithms = [share / loss for share, loss in zip(shares, losses.clamp_min(_LEAST), strict=True)]
            J, of_others = global_jacobian(of_logarithms, self._shared, self._others)
            add_to_grad(self._balanced(J, torch.stack(there)), self._shared)
            add_to_grad(of_others, self._others)

    def _balanced(self, J: Tensor, present: Tensor) -> Tensor:
        average, seen = self._state["average"].to(J), self._state["seen"].to(J.device)
        beta = torch.where(seen, self.beta, 0.0).to(J)[:, None]
        average = torch.where(present[:, None], beta * average + (1 - beta) * J, average)
        self._state = {"average": average, "seen": seen | present}
        norms = torch.where(present, average.norm(dim=1), 0.0)
        weights = torch.where(norms > 0, norms.max() / norms.clamp_min(torch.finfo(J.dtype).tiny), 0.0)
        return weights @ average

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of what later steps depend on."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`state_dict` returned."""
        self._check_state(self._state, state)
        self._state = {name: state[name].to(own.device, own.dtype).clone() for name, own in self._state.items()}
