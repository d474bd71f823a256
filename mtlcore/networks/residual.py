"""A small residual network (`resnet_small`) without batch statistics."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

_GROUPS = 8


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.GroupNorm(_GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.GroupNorm(_GROUPS, width),
        )
        # The identity wherever shapes allow it: gradients then reach the first layer unchanged.
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.GroupNorm(_GROUPS, width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.branch(x) + self.shortcut(x))


def resnet_small(
    input_shape: Sequence[int], widths: Sequence[int] = (32, 64, 128), blocks: int = 2
) -> tuple[nn.Module, int]:
    """Build a small residual network; returns it and its number of features.

    He et al., "Deep residual learning for image recognition", CVPR 2016, as for its small images: a 3x3
    convolution, then a stage a width, each but the first halving the image, then the mean over the map. With
    GroupNorm (Wu and He, ECCV 2018) in place of BatchNorm: no statistic depends on the worker's shard of the batch.

    Args:
        input_shape: (channels, height, width) of one input; height and width at least ``2 ** (len(widths) - 1)``.
        widths: channels of each stage, multiples of 8.
        blocks: residual blocks a stage, each of two convolutions.

    Returns:
        a module that maps (N, channels, height, width) to (N, widths[-1]), and widths[-1].

    Raises:
        ValueError: the input is no image or is too small for that many stages, or a width is not a multiple of 8.

    Example:
        >>> import torch
        >>> from mtlcore import resnet_small
        >>> backbone, features = resnet_small((3, 16, 16), widths=(8, 16), blocks=1)
        >>> backbone(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 16])
    """
    if len(input_shape) != 3:
        raise ValueError(f"backbone: resnet_small takes images, and an input has shape {tuple(input_shape)}")
    channels, height, width = input_shape
    halvings = len(widths) - 1
    if not widths or min(height, width) < 2**halvings:
        raise ValueError(
            f"widths: found {len(widths)} stages for images of {height}x{width}; each but the first halves the "
            f"image, 1 to {int(math.log2(min(height, width))) + 1} fit"
        )
    if blocks < 1:
        raise ValueError(f"options.blocks: found {blocks}; expected at least 1")
    for size in widths:
        if size % _GROUPS:
            raise ValueError(f"widths: found {size}; expected a multiple of {_GROUPS}")
    layers: list[nn.Module] = [
        nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, widths[0]), nn.ReLU()
        )
    ]
    before = widths[0]
    for stage, size in enumerate(widths):
        first = _Block(before, size, 1 if stage == 0 else 2)
        layers.append(nn.Sequential(first, *(_Block(size, size, 1) for _ in range(blocks - 1))))
        before = size
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), before
