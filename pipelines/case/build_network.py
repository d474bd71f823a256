"""Build a network from the case's network section."""

from collections.abc import Sequence

from mtlcore import MultiTaskNetwork, Task, build_multi_task_network
from mtlcore.exported import is_exported, start_from
from pipelines.case.network import Network


def network_of(settings: Network, input_shape: Sequence[int], tasks: Sequence[Task]) -> MultiTaskNetwork:
    """Build a network for some tasks; the backbone's parameters are drawn first, so they do not depend on the tasks.

    One that starts from an export gets the heads of the tasks that both have, too.

    Raises:
        ValueError: the backbone does not fit the input, or cannot be built; begins with the key that is wrong.
    """
    place = settings.pretrained
    if isinstance(place, str) and is_exported(place):
        network = network_of(settings.model_copy(update={"pretrained": None}), input_shape, tasks)
        start_from(network, tasks, place, sha256=settings.pretrained_sha256)
        return network
    if isinstance(place, str) and not place.endswith(".safetensors") and not settings.backbone.startswith("hf:"):
        raise ValueError(
            f"pretrained: found {place!r}; expected the folder of an export, with network.json, or a .safetensors file"
        )
    return build_multi_task_network(
        input_shape,
        tasks,
        backbone=settings.backbone,
        widths=settings.widths,
        options=settings.options,
        pretrained=settings.pretrained,
        pretrained_sha256=settings.pretrained_sha256,
        sharing=settings.sharing.model_dump(),
        head_hidden=settings.head.hidden,
    )


def builds_anywhere(settings: Network) -> bool:
    """Say whether the network is made of what is installed with this alone, not of files or packages of a machine."""
    return ":" not in settings.backbone and not settings.pretrained
