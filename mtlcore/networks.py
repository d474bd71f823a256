"""A shared backbone with a head a task; the built-in backbones have no batch statistics."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mtlcore.tasks import Task


class MultiTaskNetwork(nn.Module):
    """Hard parameter sharing: one backbone, a linear head a task (Caruana, "Multitask Learning", 1997).

    Args:
        backbone: maps inputs of shape (N, ...) to features of shape (N, features).
        features: the number of features.
        tasks: the tasks; the head of each has as many outputs as the task has classes or labels.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, MultiTaskNetwork, mlp
        >>> backbone, features = mlp((8,), hidden=(16,))
        >>> network = MultiTaskNetwork(backbone, features, [Multiclass("digit", ("zero", "one"))])
        >>> network(torch.zeros(3, 8))["digit"].shape
        torch.Size([3, 2])
    """

    def __init__(self, backbone: nn.Module, features: int, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.backbone = backbone
        self.task_names = tuple(task.name for task in tasks)
        # With an ending of its own, a task may be called what a ModuleDict already has: type, keys, train.
        self.heads = nn.ModuleDict({f"{task.name}_head": nn.Linear(features, len(task.outputs)) for task in tasks})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits by task, shape (N, outputs of the task), from one pass through the backbone."""
        h = self.backbone(x)
        return {name: self.heads[f"{name}_head"](h) for name in self.task_names}

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are trained and that more than one task uses: none where there is one task."""
        if len(self.task_names) < 2:
            return []
        return [parameter for parameter in self.backbone.parameters() if parameter.requires_grad]


def mlp(input_shape: Sequence[int], hidden: Sequence[int] = (256, 256)) -> tuple[nn.Module, int]:
    """Build a multilayer perceptron over the flattened input; returns it and its number of features.

    Args:
        input_shape: the shape of one input.
        hidden: the width of each layer; at least one.

    Raises:
        ValueError: there is no layer.
    """
    if not hidden:
        raise ValueError("hidden: found none; an MLP has at least one hidden layer")
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers), width


def small_cnn(input_shape: Sequence[int], widths: Sequence[int] = (32, 64, 128)) -> tuple[nn.Module, int]:
    """Build a small convolutional network; returns it and its number of features.

    A stage a width: 3x3 convolution, GroupNorm, ReLU, 2x2 max pooling; the last stage's map is flattened.

    Args:
        input_shape: (channels, height, width) of one input; height and width at least ``2 ** len(widths)``.
        widths: channels of each stage, multiples of 8.

    Raises:
        ValueError: the input is too small for that many stages, or a width is not a multiple of 8.
    """
    channels, height, width = input_shape
    if min(height, width) < 2 ** len(widths):
        raise ValueError(
            f"widths: found {len(widths)} stages for pictures of {height}x{width}; each stage halves the picture, "
            f"at most {int(math.log2(min(height, width)))} fit"
        )
    layers: list[nn.Module] = []
    for size in widths:
        if size % 8:
            raise ValueError(f"widths: found {size}; a multiple of 8 is right")
        layers += [
            nn.Conv2d(channels, size, 3, padding=1, bias=False),
            nn.GroupNorm(8, size),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels, height, width = size, height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten()), channels * height * width


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Draw the parameters of networks built inside from ``seed``; nobody else's random state is touched."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
