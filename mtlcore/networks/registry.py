"""Every backbone that has a name of its own; ``hf:`` and ``timm:`` names are models of those libraries."""

from collections.abc import Callable
from typing import Any

from mtlcore.networks.backbones import flatten, mlp, small_cnn
from mtlcore.networks.residual import resnet_small
from mtlcore.registry import Registry

# The protocol of a user's own: ``backbone(input_shape, **options)`` returns a torch.nn.Module that maps (N,
# *input_shape) to (N, features), with the number of features: beside it, or as its ``features``.
BACKBONES: Registry[Callable[..., Any]] = Registry(
    "backbone",
    "kindred.backbones",
    {"flatten": flatten, "mlp": mlp, "small_cnn": small_cnn, "resnet_small": resnet_small},
)
