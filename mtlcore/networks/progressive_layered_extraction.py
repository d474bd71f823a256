"""CGC and PLE: shared experts beside task-specific experts, in one level or several."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from torch import Tensor, nn

from mtlcore.networks.mixture_of_experts import build_expert, mixed
from mtlcore.networks.trunk import TaskTrunk

_SHARED = ""  # no task is called so


class _Level(nn.Module):
    """One customised gate control: experts and gates of every task and, below the last level, of the shared part."""

    def __init__(
        self, features: int, task_names: Sequence[str], shared: int, own: int, widths: Sequence[int], last: bool
    ) -> None:
        super().__init__()
        self.shared_experts = nn.ModuleList(build_expert(features, widths) for _ in range(shared))
        self.task_experts = nn.ModuleDict(
            {
                f"{name}_experts": nn.ModuleList(build_expert(features, widths) for _ in range(own))
                for name in task_names
            }
        )
        self.gates = nn.ModuleDict(
            {f"{name}_gate": nn.Linear(features, own + shared, bias=False) for name in task_names}
        )
        everybodys = shared + own * len(task_names)
        self.shared_gate = None if last else nn.Linear(features, everybodys, bias=False)

    def forward(self, h: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mixed features of every task that has a gate here, and of the shared part."""
        shared = [expert(h[_SHARED]) for expert in self.shared_experts]
        own: dict[str, list[Tensor]] = {}
        for key, experts in self.task_experts.items():
            name = key.removesuffix("_experts")
            own[name] = [expert(h[name]) for expert in experts.children()]
        out: dict[str, Tensor] = {}
        for key, gate in self.gates.items():
            name = key.removesuffix("_gate")
            out[name] = mixed(gate, h[name], own[name] + shared)
        if self.shared_gate is not None:
            out[_SHARED] = mixed(self.shared_gate, h[_SHARED], [*chain.from_iterable(own.values()), *shared])
        return out


class ProgressiveLayeredExtraction(TaskTrunk):
    r"""Levels of customised gate control over the shared backbone's features.

    In a level, task t mixes its own experts and the shared ones by a gate over its features,
    :math:`h_t' = \sum_i \mathrm{softmax}(W_t h_t)_i \, e_i`, and the shared part mixes all experts; the last level
    has no shared gate. One level is CGC, several are PLE (Tang et al., "Progressive layered extraction (PLE): a novel
    multi-task learning model for personalized recommendations", RecSys 2020). The paper's first level sees the
    input; that is this one over the backbone :func:`mtlcore.networks.flatten`.

    Args:
        backbone: maps (N, ...) to (N, features).
        features: the backbone's number of features.
        task_names: the tasks.
        levels: their number; 1 is CGC.
        shared_experts: experts of all tasks, a level.
        task_experts: experts of each task's own, a level.
        expert_widths: the layers of each expert, an MLP; the last is the trunk's number of features.

    Raises:
        ValueError: a number is below 1, or an expert has no layer.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, MultiTaskNetwork, ProgressiveLayeredExtraction, mlp
        >>> tasks = [Multiclass("digit", ("zero", "one")), Multiclass("colour", ("red", "green"))]
        >>> trunk = ProgressiveLayeredExtraction(*mlp((8,), (16,)), ["digit", "colour"], levels=2, expert_widths=(8,))
        >>> sorted(MultiTaskNetwork(trunk, trunk.features, tasks)(torch.zeros(3, 8)))
        ['colour', 'digit']
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        task_names: Sequence[str],
        *,
        levels: int = 1,
        shared_experts: int = 2,
        task_experts: int = 2,
        expert_widths: Sequence[int] = (128,),
    ) -> None:
        for key, number in (("levels", levels), ("shared_experts", shared_experts), ("task_experts", task_experts)):
            if number < 1:
                raise ValueError(f"sharing.{key}: found {number}; expected at least 1")
        made: list[nn.Module] = []
        width = features
        for level in range(levels):
            last = level == levels - 1
            made.append(_Level(width, task_names, shared_experts, task_experts, expert_widths, last))
            width = expert_widths[-1]
        super().__init__(task_names, width)
        self.backbone = backbone
        self.levels = nn.ModuleList(made)
        # A task that is dropped later still feeds the shared part of the levels below the last.
        self._started = self.task_names  # those with experts in the first level

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return each task's features, shape (N, expert_widths[-1])."""
        h0 = self.backbone(x)
        h = dict.fromkeys((*self._started, _SHARED), h0)
        for level in self.levels:
            h = level(h)
        return {name: h[name] for name in self.task_names}

    def used_by(self, task: str) -> Iterable[nn.Parameter]:
        """Return what the task's features depend on, through all levels."""
        yield from self.backbone.parameters()
        for above, level in enumerate(reversed(self.levels)):
            yield from level.get_submodule("shared_experts").parameters()
            for name in self.task_names:
                if name == task or above >= 1:  # the shared gate leads from everybody's experts to the level above
                    yield from level.get_submodule(f"task_experts.{name}_experts").parameters()
                if name == task or above >= 2:
                    yield from level.get_submodule(f"gates.{name}_gate").parameters()
            if above >= 1:
                yield from level.get_submodule("shared_gate").parameters()

    def keep(self, task_names: Sequence[str]) -> None:
        """Drop the other tasks' experts and gates of the last level, and their gates of the one below it."""
        for above, level in enumerate(reversed(self.levels)):
            assert isinstance(level, _Level)
            for name in set(self.task_names) - set(task_names):
                if above == 0:
                    del level.task_experts[f"{name}_experts"]
                if above <= 1:
                    del level.gates[f"{name}_gate"]
        self.task_names = tuple(task_names)
        if len(self.levels) == 1:
            self._started = self.task_names
