"""Built-in backbones (MLP, small CNN, flatten), none with batch statistics."""

import math
from collections.abc import Sequence

from torch import nn


def flatten(input_shape: Sequence[int]) -> tuple[nn.Module, int]:
    """Build the backbone that does nothing: the input's numbers in a row are the features.

    Args:
        input_shape: the shape of one input.

    Example:
        >>> from mtlcore.networks import flatten
        >>> flatten((3, 8, 8))[1]
        192
    """
    return nn.Flatten(), math.prod(input_shape)


def mlp(input_shape: Sequence[int], hidden: Sequence[int] = (256, 256)) -> tuple[nn.Module, int]:
    """Build a multilayer perceptron over the flattened input; returns it and its number of features.

    Args:
        input_shape: the shape of one input.
        hidden: the width of each layer; at least one.

    Raises:
        ValueError: there is no layer.

    Example:
        >>> mlp((1, 8, 8), hidden=(32, 16))[1]
        16
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

    A stage a width: 3x3 convolution, GroupNorm, 2x2 max pooling, ReLU; the last stage's map is flattened. ReLU comes
    after the pooling, where it has a quarter of the numbers to look at: the bits are the same, gradients' too.

    Args:
        input_shape: (channels, height, width) of one input; height and width at least ``2 ** len(widths)``.
        widths: channels of each stage, multiples of 8.

    Raises:
        ValueError: the input is too small for that many stages, or a width is not a multiple of 8.

    Example:
        >>> small_cnn((3, 32, 32), widths=(32, 64, 128))[1]  # 128 channels of 4 x 4
        2048
    """
    channels, height, width = input_shape
    if min(height, width) < 2 ** len(widths):
        raise ValueError(
            f"widths: found {len(widths)} stages for images of {height}x{width}; each stage halves the image, "
            f"at most {int(math.log2(min(height, width)))} fit"
        )
    layers: list[nn.Module] = []
    for size in widths:
        if size % 8:
            raise ValueError(f"widths: found {size}; expected a multiple of 8")
        layers += [
            # Without a bias, which the norm after it would take away again.
            nn.Conv2d(channels, size, 3, padding=1, bias=False),
            nn.GroupNorm(8, size),
            nn.MaxPool2d(2),
            nn.ReLU(),
        ]
        channels, height, width = size, height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten()), channels * height * width
