"""Build a backbone from its name: built in, `hf:NAME`, `timm:NAME` or `package.module:callable`."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from mtlcore.networks.callables import from_callable
from mtlcore.networks.hugging_face import hugging_face_model
from mtlcore.networks.pretrained import load_pretrained
from mtlcore.networks.registry import BACKBONES
from mtlcore.networks.timm_models import timm_model
from mtlcore.suggestions import did_you_mean

KINDS = f"one of {', '.join(BACKBONES.built_in)}, hf:NAME, timm:NAME, package.module:callable"


def check_backbone_name(name: str) -> None:
    """Check the form of a backbone's name.

    Raises:
        ValueError: it is none of :func:`build_backbone`'s.
    """
    try:
        BACKBONES.check_name(name)
    except ValueError:
        raise ValueError(f"expected {KINDS}{did_you_mean(name, BACKBONES.names())}") from None


def build_backbone(
    name: str,
    input_shape: Sequence[int],
    *,
    widths: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    pretrained: bool | str | None = None,
    pretrained_sha256: str | None = None,
) -> tuple[nn.Module, int]:
    """Build a backbone by its name; returns it and its number of features.

    ==========================  ========================================================================
    name                        what it is
    ==========================  ========================================================================
    ``mlp``                     :func:`mtlcore.mlp`
    ``small_cnn``               :func:`mtlcore.small_cnn`
    ``resnet_small``            :func:`mtlcore.resnet_small`
    ``flatten``                 the input itself
    ``hf:NAME``                 a model of images of transformers: a name on Hugging Face's hub, a folder
                                with config.json, such a file, or a kind of model (``vit``, ``convnext``)
    ``timm:NAME``               a model of timm, an optional extra
    ``package.module:callable`` anybody's: called with the input's shape and the options
    ==========================  ========================================================================

    Args:
        name: one of these.
        input_shape: the shape of one input.
        widths: of the built-in ones: hidden sizes, or channels by stage; each has its own default.
        options: further arguments (``blocks`` of resnet_small); ``hf:`` takes its configuration's keys and ``pool``.
        pretrained: a safetensors file with the backbone's weights; or, for ``hf:`` and ``timm:``, True for those of
            the name, and for ``hf:`` a folder or another name on the hub. Otherwise the weights are drawn at random.
        pretrained_sha256: of the safetensors file, which then has to be that one.

    Raises:
        ValueError: the name, an option or the weights are wrong, or the backbone does not take such inputs. The
            message begins with the argument that is wrong.

    Example:
        >>> from mtlcore import build_backbone
        >>> build_backbone("resnet_small", (3, 16, 16), widths=(8, 16), options={"blocks": 1})[1]
        16
    """
    try:
        check_backbone_name(name)
    except ValueError as error:
        raise ValueError(f"backbone: found {name!r}; {error}") from None
    options = dict(options or {})
    from_file = isinstance(pretrained, str) and pretrained.endswith(".safetensors")
    kind, _, rest = name.partition(":")
    if widths is not None and (name not in BACKBONES or name == "flatten"):
        raise ValueError(f"widths: found {list(widths)} for the backbone {name!r}, which takes none")
    if kind == "hf":
        weights = False if from_file else pretrained or False
        backbone, features = hugging_face_model(rest, input_shape, options, pretrained=weights)
    else:
        if pretrained and not from_file and not (kind == "timm" and pretrained is True):
            right = "true or a .safetensors file" if kind == "timm" else "a .safetensors file"
            raise ValueError(f"pretrained: found {pretrained!r} for the backbone {name!r}; expected {right}")
        if kind == "timm":
            backbone, features = timm_model(rest, input_shape, options, pretrained=pretrained is True)
        elif name in BACKBONES:
            backbone, features = _built_in(name, input_shape, widths, options)
        else:
            backbone, features = from_callable(name, input_shape, options)
    if from_file:
        load_pretrained(backbone, str(pretrained), sha256=pretrained_sha256)
    return backbone, features


def _built_in(
    name: str, input_shape: Sequence[int], widths: Sequence[int] | None, options: Mapping[str, Any]
) -> tuple[nn.Module, int]:
    build = BACKBONES[name]
    # From the function itself, whose arguments after the input's shape are its options: there is no second list.
    taken = list(inspect.signature(build).parameters)[1:]
    own_words = {"widths": "hidden"} if name == "mlp" else {}
    known = [one for one in taken if one not in ("widths", "hidden")]
    for option in options:
        if option not in known:
            raise ValueError(f"options: found {option!r}, no option of {name}{did_you_mean(option, known)}")
    own_options = {} if widths is None else {own_words.get("widths", "widths"): widths}
    built: tuple[nn.Module, int] = build(input_shape, **own_options, **options)
    return built
