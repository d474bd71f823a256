"""Build a network from the case's network section."""

from collections.abc import Sequence

from mtlcore import MultiTaskNetwork, Task, build_multi_task_network
from pipelines.case.network import Network


def network_of(settings: Network, input_shape: Sequence[int], tasks: Sequence[Task]) -> MultiTaskNetwork:
    """Build a network for some tasks; the backbone's parameters are drawn first, so they do not depend on the tasks.

    Raises:
        ValueError: the backbone does not fit the input, or cannot be built; begins with the key that is wrong.
    """
    return build_multi_task_network(
        input_shape,
        tasks,
        backbone=settings.backbone,
        widths=settings.widths,
        options=settings.options,
        pretrained=settings.pretrained,
        sharing=settings.sharing.model_dump(),
        head_hidden=settings.head.hidden,
    )


def builds_anywhere(settings: Network) -> bool:
    """Say whether the network is made of what is installed with this alone, not of files or packages of a machine."""
    return ":" not in settings.backbone and not settings.pretrained
