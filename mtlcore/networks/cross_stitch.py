"""Cross-stitch networks: one copy of the backbone per task, whose features are mixed after every stage."""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mtlcore.networks.trunk import TaskTrunk


def stages_of(backbone: nn.Module) -> list[nn.Module]:
    """Divide a backbone into stages.

    An ``nn.Sequential`` has a stage for every child that holds weights of two dimensions or more (a convolution, a
    linear layer, a block of them); norms, activations and pooling belong to the stage before them, what comes first
    to the first. Any other module is one stage.

    Example:
        >>> from mtlcore import mlp
        >>> from mtlcore.networks.cross_stitch import stages_of
        >>> len(stages_of(mlp((8,), hidden=(16, 16, 16))[0]))
        3
    """
    if not isinstance(backbone, nn.Sequential):
        return [backbone]
    stages: list[list[nn.Module]] = [[]]
    begun = False
    for child in backbone:
        weighty = any(parameter.dim() > 1 for parameter in child.parameters())
        if weighty and begun:
            stages.append([])
        begun = begun or weighty
        stages[-1].append(child)
    return [nn.Sequential(*stage) for stage in stages]


class CrossStitch(TaskTrunk):
    r"""One column per task, each a copy of the backbone; after every stage a unit mixes the columns' features.

    .. math:: \tilde x_t = \sum_s \alpha_{ts} \, x_s

    (Misra et al., "Cross-stitch networks for multi-task learning", CVPR 2016, equation 1 for any number of tasks.)
    The units begin with ``own`` for a task's own column, what is left spread over the others. The columns begin as
    copies of one backbone, so that at first every task sees just what hard sharing would show it. Where stages end:
    :func:`stages_of`; a backbone that is not an ``nn.Sequential`` gets one unit, after it.

    It costs a pass through a backbone for every task, and the memory of as many. Every task depends on every
    column, so nothing but a head and a row of the last unit is only an auxiliary task's.

    Args:
        backbone: maps (N, ...) to (N, features).
        features: the number of features.
        task_names: the tasks.
        own: the first weight of a task's own column, in (0, 1].

    Raises:
        ValueError: ``own`` is out of its range.

    Example:
        >>> import torch
        >>> from mtlcore import CrossStitch, Multiclass, MultiTaskNetwork, mlp
        >>> tasks = [Multiclass("digit", ("zero", "one")), Multiclass("colour", ("red", "green"))]
        >>> trunk = CrossStitch(*mlp((8,), hidden=(16,)), ["digit", "colour"])
        >>> sorted(MultiTaskNetwork(trunk, trunk.features, tasks)(torch.zeros(3, 8)))
        ['colour', 'digit']
    """

    def __init__(self, backbone: nn.Module, features: int, task_names: Sequence[str], *, own: float = 0.9) -> None:
        super().__init__(task_names, features)
        if not 0 < own <= 1:
            raise ValueError(f"sharing.own: found {own}; expected a weight in (0, 1]")
        tasks = len(self.task_names)
        # Copies, not draws of their own: at first cross-stitch is hard sharing, and tasks part as far as it helps.
        columns = [stages_of(copy.deepcopy(backbone)) for _ in self.task_names]
        self.stages = nn.ModuleList(nn.ModuleList(stage) for stage in zip(*columns, strict=True))  # by stage, by task
        start = torch.full((tasks, tasks), (1 - own) / max(tasks - 1, 1))
        start.fill_diagonal_(own if tasks > 1 else 1.0)
        self.units = nn.ParameterList(nn.Parameter(start.clone()) for _ in self.stages)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return each task's features, shape (N, features)."""
        of_tasks = None
        for stage, unit in zip(self.stages, self.mixing(), strict=True):
            columns = list(stage.children())
            entering = [x] * len(columns) if of_tasks is None else of_tasks.unbind()
            stacked = torch.stack([column(h) for column, h in zip(columns, entering, strict=True)])
            of_tasks = torch.einsum("ts,s...->t...", unit, stacked)
        assert of_tasks is not None
        return dict(zip(self.task_names, of_tasks.unbind(), strict=True))

    def mixing(self) -> list[Tensor]:
        """Return by stage how much of each column goes into each, shape (tasks, columns)."""
        return list(self.units)

    def used_by(self, task: str) -> Iterable[nn.Parameter]:
        """Return all parameters: every task depends on every column."""
        return self.parameters()

    def keep(self, task_names: Sequence[str]) -> None:
        """Drop the last unit's rows of the other tasks; the columns mix before, so they all stay."""
        rows = [self.task_names.index(name) for name in task_names]
        self.units[len(self.units) - 1] = nn.Parameter(self.units[-1].detach()[rows].clone())
        self.task_names = tuple(task_names)
