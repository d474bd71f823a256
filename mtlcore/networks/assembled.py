"""Build a multi-task network from plain settings: a named backbone, what the tasks share of it, and their heads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from mtlcore.networks.attention import AttentionTrunk
from mtlcore.networks.branching import LearnedBranching
from mtlcore.networks.cross_stitch import CrossStitch
from mtlcore.networks.mixture_of_experts import MultiGateMixtureOfExperts
from mtlcore.networks.multi_task_network import MultiTaskNetwork
from mtlcore.networks.named_backbone import build_backbone
from mtlcore.networks.progressive_layered_extraction import ProgressiveLayeredExtraction
from mtlcore.networks.sparse_gates import DSelectK
from mtlcore.networks.trunk import TaskTrunk
from mtlcore.tasks import Task

_BUILT_IN_WIDTHS = dict.fromkeys(("mlp", "small_cnn", "resnet_small"), (32, 64, 128))
_TRUNKS: dict[str, Callable[..., TaskTrunk]] = {
    "cross_stitch": CrossStitch,
    "mtan": AttentionTrunk,
    "ltb": LearnedBranching,
    "mmoe": MultiGateMixtureOfExperts,
    "dselect_k": DSelectK,
    "cgc": ProgressiveLayeredExtraction,
    "ple": ProgressiveLayeredExtraction,
}


def build_multi_task_network(
    input_shape: Sequence[int],
    tasks: Sequence[Task],
    *,
    backbone: str = "small_cnn",
    widths: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    pretrained: bool | str | None = None,
    pretrained_sha256: str | None = None,
    sharing: Mapping[str, Any] | None = None,
    head_hidden: Sequence[int] = (),
) -> MultiTaskNetwork:
    """Build a network for some tasks; the backbone's parameters are drawn first, so they do not depend on the tasks.

    Args:
        input_shape: the shape of one input.
        tasks: the tasks; one task alone shares nothing, whatever ``sharing`` says.
        backbone: as for :func:`mtlcore.build_backbone`, as ``widths``, ``options``, ``pretrained`` and its digest are.
        widths: hidden sizes, or channels by stage; (32, 64, 128) for a built-in backbone.
        options: further arguments of the backbone.
        pretrained: the backbone's first weights.
        pretrained_sha256: of their file, where it has to be that one.
        sharing: ``kind``: ``hard`` (the default), ``cross_stitch``, ``mtan``, ``ltb``, ``mmoe``, ``dselect_k``, ``cgc``
            or ``ple``, and its settings: the arguments of the trunk's class.
        head_hidden: hidden widths of every head.

    Raises:
        ValueError: the backbone does not fit the input, or cannot be built; begins with the argument that is wrong.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, build_multi_task_network
        >>> tasks = [Multiclass("digit", ("zero", "one")), Multiclass("ink", ("blue", "red", "black"))]
        >>> network = build_multi_task_network((1, 8, 8), tasks, backbone="mlp", widths=(16,))
        >>> {name: tuple(z.shape) for name, z in network(torch.zeros(5, 1, 8, 8)).items()}
        {'digit': (5, 2), 'ink': (5, 3)}
    """
    built, features = build_backbone(
        backbone,
        input_shape,
        widths=widths or _BUILT_IN_WIDTHS.get(backbone),
        options=options,
        pretrained=pretrained,
        pretrained_sha256=pretrained_sha256,
    )
    if len(tasks) > 1:
        built, features = _shared(dict(sharing or {"kind": "hard"}), built, features, [task.name for task in tasks])
    return MultiTaskNetwork(built, features, tasks, head_hidden=head_hidden)


def _shared(options: dict[str, Any], backbone: nn.Module, features: int, names: list[str]) -> tuple[nn.Module, int]:
    kind = options.pop("kind", None)
    if kind == "hard":
        return backbone, features
    if kind not in _TRUNKS:
        raise ValueError(f"sharing.kind: found {kind!r}; expected one of {', '.join(['hard', *_TRUNKS])}")
    trunk = _TRUNKS[kind](backbone, features, names, **options)
    return trunk, trunk.features
