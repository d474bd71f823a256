"""Backbones from user code: a callable named `package.module:callable`."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mtlcore.networks.from_elsewhere import validate_backbone
from mtlcore.networks.registry import BACKBONES


def from_callable(
    name: str, input_shape: Sequence[int], options: Mapping[str, Any] | None = None
) -> tuple[nn.Module, int]:
    """Call ``package.module:callable`` with the input's shape and the options.

    Args:
        name: ``package.module:callable``, or an installed package's entry point in ``kindred.backbones``; the module
            has to be importable wherever the network is built. It is run: a name from somebody else is somebody else's
            code.
        input_shape: the shape of one input, given as a tuple.
        options: keyword arguments.

    Returns:
        the module and its number of features: the callable returns the two, or a module that holds the number as
        ``features`` or ``num_features``.

    Raises:
        ValueError: there is no such module or callable, it fails, or what it returns is not that.
    """
    try:
        build = BACKBONES[name]
    except ValueError as error:
        raise ValueError(f"backbone: {error}") from None
    if not callable(build):
        raise ValueError(f"backbone: found {name!r}, a {type(build).__name__}; expected a callable")
    try:
        made = build(tuple(input_shape), **dict(options or {}))
    except Exception as error:  # somebody's code
        raise ValueError(f"backbone: {name!r} failed: {type(error).__name__}: {error}") from error
    backbone, features = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            f"backbone: {name!r} returned {type(made).__name__}; expected a torch.nn.Module, alone or with its "
            "number of features"
        )
    if features is None:
        said = [getattr(backbone, attribute, None) for attribute in ("features", "num_features")]
        # As timm's and most libraries' models call it.
        features = next((one for one in said if isinstance(one, int)), None)
        if features is None:
            raise ValueError(
                f"backbone: {name!r} returned a module without a number `features` or `num_features`; "
                "return (module, features), or set one of them"
            )
    return backbone, validate_backbone(backbone, input_shape, name, features=features)
