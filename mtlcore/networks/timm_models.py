"""Backbones from timm (`timm:NAME`), an optional dependency."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mtlcore.networks.from_elsewhere import validate_backbone


def timm_model(
    name: str, input_shape: Sequence[int], options: Mapping[str, Any] | None = None, *, pretrained: bool = False
) -> tuple[nn.Module, int]:
    """Build a timm model without its classifier; returns it and its number of features.

    Wightman, "PyTorch Image Models" (github.com/huggingface/pytorch-image-models).

    Args:
        name: as ``timm.create_model`` knows it.
        input_shape: (channels, height, width) of one input.
        options: further arguments of ``timm.create_model``.
        pretrained: timm's own weights for the name, which it fetches.

    Raises:
        ValueError: timm cannot be imported, knows no such model, or the model does not take such inputs.
    """
    called = f"timm:{name}"
    if len(input_shape) != 3:
        raise ValueError(f"backbone: {called!r} takes images, and an input has {math.prod(input_shape)} numbers")
    if unpickled := sorted({"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"} & set(options or {})):
        raise ValueError(
            f"options: found {unpickled[0]!r}, which may name a pickle for timm to read; expected pretrained: "
            "FILE.safetensors"
        )
    try:
        import timm
    except Exception as error:  # torchvision beside another build of torch raises a RuntimeError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"backbone: found {called!r}, and timm cannot be imported here ({reason}); the extra kindred-mtl[timm] "
            "brings it, beside a torchvision that is built for the installed torch"
        ) from None
    try:
        model = timm.create_model(
            name, pretrained=pretrained, num_classes=0, in_chans=input_shape[0], **dict(options or {})
        )
    except Exception as error:  # timm raises what it likes, a RuntimeError for an unknown model
        raise ValueError(f"backbone: {called!r} cannot be built: {error}") from None
    return model, validate_backbone(model, input_shape, called)
