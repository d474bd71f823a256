"""DSelect-k: mixture of experts with gates that choose at most k experts, and that gradients reach."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlcore.networks.mixture_of_experts import MultiGateMixtureOfExperts


def smooth_step(t: Tensor, gamma: float = 1.0) -> Tensor:
    r"""Return a cubic that is 0 up to -gamma / 2, 1 from gamma / 2 on, and smooth in value and slope.

    .. math:: S(t) = -\frac{2}{\gamma^3} t^3 + \frac{3}{2 \gamma} t + \frac{1}{2}

    Example:
        >>> smooth_step(torch.tensor([-1.0, 0.0, 0.25, 1.0]))
        tensor([0.0000, 0.5000, 0.8438, 1.0000])
    """
    t = t.clamp(-gamma / 2, gamma / 2)
    return -2 / gamma**3 * t**3 + 1.5 / gamma * t + 0.5


class SparseGate(nn.Module):
    r"""Weights of n experts, of which at most k are not 0 once its numbers have left the smooth part.

    Each of k selectors names an expert by its bits, :math:`r_i = \prod_j S(z_j)^{b_{ij}} (1 - S(z_j))^{1 - b_{ij}}`,
    and a softmax weighs the selectors.

    Args:
        experts: n, a power of two.
        chosen: k.
        gamma: the width of the smooth part.

    Example:
        >>> gate = SparseGate(4, chosen=1)
        >>> _ = gate.bits.data.copy_(torch.tensor([[-1.0, 1.0]]))
        >>> gate()
        tensor([0., 0., 1., 0.], grad_fn=<SumBackward1>)
    """

    binary: Tensor

    def __init__(self, experts: int, chosen: int, gamma: float = 1.0) -> None:
        super().__init__()
        digits = experts.bit_length() - 1
        self.gamma = gamma
        self.bits = nn.Parameter(gamma / 100 * (2 * torch.rand(chosen, digits) - 1))
        self.weights = nn.Parameter(torch.zeros(chosen))
        places = torch.arange(experts)[:, None] >> torch.arange(digits) & 1  # (experts, digits)
        self.register_buffer("binary", places.bool(), persistent=False)

    def forward(self) -> Tensor:
        """Return the weights, shape (experts,), which sum to 1."""
        on = smooth_step(self.bits, self.gamma)[:, None]  # (k, 1, digits)
        choice = torch.where(self.binary, on, 1 - on).prod(dim=2)
        return (torch.softmax(self.weights, dim=0)[:, None] * choice).sum(dim=0)


class DSelectK(MultiGateMixtureOfExperts):
    r"""Shared experts; every task has a gate that comes to choose at most k of them.

    .. math:: f_t(h) = \sum_i q_t[i] \, e_i(h), \qquad q_t = \sum_{s=1}^{k} \mathrm{softmax}(\alpha_t)_s \, r(z_t^{(s)})

    H. Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of Experts with Applications to Multi-Task
    Learning", NeurIPS 2021, with one gate for all inputs of a task; without the paper's term for entropy, since a
    gate's numbers leave the smooth part by themselves.

    Args:
        backbone: maps (N, ...) to (N, features).
        features: the backbone's number of features.
        task_names: the tasks.
        experts: their number, a power of two.
        chosen: k, how many a task chooses at most.
        expert_widths: the layers of each expert, an MLP; the last is the trunk's number of features.

    Raises:
        ValueError: ``experts`` is not a power of two, or ``chosen`` not among 1 to ``experts``.

    Example:
        >>> from mtlcore import DSelectK, Multiclass, MultiTaskNetwork, mlp
        >>> tasks = [Multiclass("digit", ("zero", "one")), Multiclass("colour", ("red", "green"))]
        >>> trunk = DSelectK(*mlp((8,), (16,)), ["digit", "colour"], experts=4, expert_widths=(8,))
        >>> sorted(MultiTaskNetwork(trunk, trunk.features, tasks)(torch.zeros(3, 8)))
        ['colour', 'digit']
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        task_names: Sequence[str],
        *,
        experts: int = 4,
        chosen: int = 2,
        expert_widths: Sequence[int] = (128,),
    ) -> None:
        if experts < 2 or experts & (experts - 1):
            raise ValueError(f"sharing.experts: found {experts}; expected a power of two, 2 at least")
        if not 1 <= chosen <= experts:
            raise ValueError(f"sharing.chosen: found {chosen}; expected a number from 1 to {experts}, the experts")
        super().__init__(backbone, features, task_names, experts=experts, expert_widths=expert_widths)
        self.gates = nn.ModuleDict({f"{name}_gate": SparseGate(experts, chosen) for name in self.task_names})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return each task's features, shape (N, expert_widths[-1])."""
        h = self.backbone(x)
        outputs = torch.stack([expert(h) for expert in self.experts])
        return {
            name: torch.einsum("e,enw->nw", self.gates[f"{name}_gate"]().to(outputs.dtype), outputs)
            for name in self.task_names
        }
