"""Multi-task attention network (MTAN): one backbone, of whose maps every task attends to its own parts."""

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlcore.networks.cross_stitch import stages_of
from mtlcore.networks.trunk import TaskTrunk

_SHAPES_ALONE = (nn.Flatten, nn.AdaptiveAvgPool2d, nn.Identity)  # what follows the last map and learns nothing


class _Attention(nn.Module):
    """A task's mask over the output of one stage, from that output and from what the task saw of the stage before."""

    def __init__(self, channels: int, before: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels + before, channels)
        self.norm = nn.GroupNorm(1, channels)
        self.mask = nn.Linear(channels, channels)

    def forward(self, shared: Tensor, seen: Tensor | None) -> Tensor:
        entering = shared
        if seen is not None:
            if shared.dim() == 4:
                seen = F.adaptive_avg_pool2d(seen, (shared.shape[2], shared.shape[3]))
            entering = torch.cat([shared, seen], dim=1)
        return shared * torch.sigmoid(_pointwise(self.mask, F.relu(self.norm(_pointwise(self.hidden, entering)))))


def _pointwise(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer to the channels of vectors, (N, C), or at every place of maps, (N, C, H, W)."""
    return layer(x) if x.dim() == 2 else F.conv2d(x, layer.weight[:, :, None, None], layer.bias)  # type: ignore[no-any-return]


class AttentionTrunk(TaskTrunk):
    r"""One shared backbone; after every stage each task multiplies its output by a mask of its own.

    .. math:: \hat a_t^{(j)} = a_t^{(j)} \odot p^{(j)}, \qquad
              a_t^{(j)} = \sigma(h_t^{(j)}(g_t^{(j)}([p^{(j)}; \hat a_t^{(j-1)}])))

    with p the stage's output (Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019). h and g
    are 1x1 convolutions, or linear layers over vectors; what a task saw of the stage before is pooled to the size of
    the next map, where the paper convolves it, and normalisation has no batch statistics. Where stages end:
    :func:`mtlcore.networks.cross_stitch.stages_of`; a backbone that is not an ``nn.Sequential`` gets one mask, of its
    features. One pass through the backbone, however many tasks.

    Args:
        backbone: maps (N, ...) to (N, features).
        features: the number of features.
        task_names: the tasks.

    Example:
        >>> import torch
        >>> from mtlcore import AttentionTrunk, Multiclass, MultiTaskNetwork, small_cnn
        >>> tasks = [Multiclass("digit", ("zero", "one")), Multiclass("colour", ("red", "green"))]
        >>> trunk = AttentionTrunk(*small_cnn((1, 8, 8), (8, 16)), ["digit", "colour"])
        >>> sorted(MultiTaskNetwork(trunk, trunk.features, tasks)(torch.zeros(3, 1, 8, 8)))
        ['colour', 'digit']
    """

    def __init__(self, backbone: nn.Module, features: int, task_names: Sequence[str]) -> None:
        super().__init__(task_names, features)
        stages = stages_of(backbone)
        tail: list[nn.Module] = []
        if isinstance(backbone, nn.Sequential):
            last = list(stages[-1].children())
            while last and isinstance(last[-1], _SHAPES_ALONE):
                tail.insert(0, last.pop())
            stages[-1] = nn.Sequential(*last)
        self.stages = nn.ModuleList(stages)
        self.tail = nn.Sequential(*tail)
        channels = [_channels_of(stage) for stage in stages]
        if not isinstance(backbone, nn.Sequential) or channels[-1] is None:
            channels[-1] = features
        sizes = [features if size is None else size for size in channels]
        self.attention = nn.ModuleDict(
            {
                f"{name}_attention": nn.ModuleList(
                    _Attention(size, before) for before, size in zip([0, *sizes[:-1]], sizes, strict=True)
                )
                for name in self.task_names
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return each task's features, shape (N, features)."""
        seen: dict[str, Tensor | None] = dict.fromkeys(self.task_names)
        for number, stage in enumerate(self.stages):
            x = stage(x)
            for name in self.task_names:
                seen[name] = self.attention.get_submodule(f"{name}_attention.{number}")(x, seen[name])
        return {name: self.tail(of_task) for name, of_task in seen.items()}

    def used_by(self, task: str) -> Iterable[nn.Parameter]:
        """Return the backbone's and the task's attention."""
        return chain(self.stages.parameters(), self.attention[f"{task}_attention"].parameters())

    def keep(self, task_names: Sequence[str]) -> None:
        """Drop the other tasks' attention."""
        self.task_names = tuple(task_names)
        self.attention = nn.ModuleDict(
            {f"{name}_attention": self.attention[f"{name}_attention"] for name in task_names}
        )


def _channels_of(stage: nn.Module) -> int | None:
    """Return the channels that a stage puts out, of its last layer with a matrix; None where it has none."""
    sizes = [parameter.shape[0] for parameter in stage.parameters() if parameter.dim() > 1]
    return sizes[-1] if sizes else None
