"""Multi-gate mixture-of-experts (MMoE): shared experts, weighed by one gate per task."""

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from mtlcore.networks.backbones import mlp
from mtlcore.networks.trunk import TaskTrunk


def build_expert(features: int, widths: Sequence[int]) -> nn.Module:
    """Build an expert, an MLP over features: (N, features) to (N, widths[-1])."""
    if not widths:
        raise ValueError("sharing.expert_widths: found none; an expert has at least one layer")
    return mlp((features,), widths)[0]


def mixed(gate: nn.Module, gate_input: Tensor, experts: Sequence[Tensor]) -> Tensor:
    """Return the experts' outputs, each (N, width), weighed by the gate's softmax, shape (N, width)."""
    weights = torch.softmax(gate(gate_input), dim=1)  # (N, experts)
    # Under autocast a softmax comes in float32, and what it weighs does not.
    return torch.einsum("ne,enw->nw", weights, torch.stack(list(experts)).to(weights.dtype))


class MultiGateMixtureOfExperts(TaskTrunk):
    r"""Experts over the shared backbone's features h; every task weighs them by a gate of its own.

    .. math:: f_t(h) = \sum_i g_t(h)_i \, e_i(h), \qquad g_t(h) = \mathrm{softmax}(W_t h)

    (Ma et al., "Modeling task relationships in multi-task learning with multi-gate mixture-of-experts", KDD 2018.)
    The paper's experts and gates see the input; that is this one over the backbone
    :func:`mtlcore.networks.flatten`. Over any other they see its features, so that a batch goes through the costly
    part once.

    Args:
        backbone: maps (N, ...) to (N, features).
        features: the backbone's number of features.
        task_names: the tasks.
        experts: their number.
        expert_widths: the layers of each expert, an MLP; the last is the trunk's number of features.

    Raises:
        ValueError: there is no expert, or none of its layers.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, MultiGateMixtureOfExperts, MultiTaskNetwork, mlp
        >>> tasks = [Multiclass("digit", ("zero", "one")), Multiclass("colour", ("red", "green"))]
        >>> trunk = MultiGateMixtureOfExperts(*mlp((8,), (16,)), ["digit", "colour"], experts=3, expert_widths=(8,))
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
        expert_widths: Sequence[int] = (128,),
    ) -> None:
        if experts < 1:
            raise ValueError(f"sharing.experts: found {experts}; expected at least 1")
        made = [build_expert(features, expert_widths) for _ in range(experts)]
        super().__init__(task_names, expert_widths[-1])
        self.backbone = backbone
        self.experts = nn.ModuleList(made)
        self.gates = nn.ModuleDict(
            # Without a bias, as in the paper: a gate that could not see the input would have one mixture for all.
            {f"{name}_gate": nn.Linear(features, experts, bias=False) for name in self.task_names}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return each task's features, shape (N, expert_widths[-1])."""
        h = self.backbone(x)
        outputs = [expert(h) for expert in self.experts]
        return {name: mixed(self.gates[f"{name}_gate"], h, outputs) for name in self.task_names}

    def used_by(self, task: str) -> Iterable[nn.Parameter]:
        """Return the backbone's, the experts' and the task's gate's."""
        return chain.from_iterable(
            part.parameters() for part in (self.backbone, self.experts, self.gates[f"{task}_gate"])
        )

    def keep(self, task_names: Sequence[str]) -> None:
        """Drop the other tasks' gates; the experts are everybody's."""
        self.task_names = tuple(task_names)
        self.gates = nn.ModuleDict({f"{name}_gate": self.gates[f"{name}_gate"] for name in task_names})
