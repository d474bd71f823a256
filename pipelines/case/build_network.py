"""Build a network from the case's network section."""

from collections.abc import Callable, Sequence

from torch import nn

from mtlcore import (
    AttentionTrunk,
    CrossStitch,
    DSelectK,
    LearnedBranching,
    MultiGateMixtureOfExperts,
    MultiTaskNetwork,
    ProgressiveLayeredExtraction,
    Task,
    TaskTrunk,
    build_backbone,
)
from pipelines.case.network import Network, Sharing

_TRUNKS: dict[str, Callable[..., TaskTrunk]] = {
    "cross_stitch": CrossStitch,
    "mtan": AttentionTrunk,
    "ltb": LearnedBranching,
    "mmoe": MultiGateMixtureOfExperts,
    "dselect_k": DSelectK,
    "cgc": ProgressiveLayeredExtraction,
    "ple": ProgressiveLayeredExtraction,
}
_BUILT_IN_WIDTHS = dict.fromkeys(("mlp", "small_cnn", "resnet_small"), (32, 64, 128))


def network_of(settings: Network, input_shape: Sequence[int], tasks: Sequence[Task]) -> MultiTaskNetwork:
    """Build a network for some tasks; the backbone's parameters are drawn first, so they do not depend on the tasks.

    Raises:
        ValueError: the backbone does not fit the input, or cannot be built; begins with the key that is wrong.
    """
    backbone, features = build_backbone(
        settings.backbone,
        input_shape,
        widths=settings.widths or _BUILT_IN_WIDTHS.get(settings.backbone),
        options=settings.options,
        pretrained=settings.pretrained,
    )
    if len(tasks) > 1:  # one task shares nothing
        backbone, features = _shared(settings.sharing, backbone, features, [task.name for task in tasks])
    return MultiTaskNetwork(backbone, features, tasks, head_hidden=settings.head.hidden)


def builds_anywhere(settings: Network) -> bool:
    """Say whether the network is made of what is installed with this alone, not of files or packages of a machine."""
    return ":" not in settings.backbone and not settings.pretrained


def _shared(sharing: Sharing, backbone: nn.Module, features: int, names: list[str]) -> tuple[nn.Module, int]:
    options = sharing.model_dump(exclude={"kind"})
    if sharing.kind == "hard":
        return backbone, features
    trunk = _TRUNKS[sharing.kind](backbone, features, names, **options)
    return trunk, trunk.features
