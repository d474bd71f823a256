"""Search space: what tasks share, how wide the network is, and what heads have of their own.

Widths are half, the same and twice the case's (or the backbone's): a shared network has to hold several tasks, and may
want to be wider than each one's own. Sharing goes from everything to a network a task with exchange; those kinds that
attend to maps need images and are left to a space of one's own. Heads are linear, or have one hidden layer.
"""

from collections.abc import Mapping
from typing import Any

_WIDTHS = {"mlp": (128, 128), "small_cnn": (32, 64, 128), "resnet_small": (32, 64, 128)}


def space(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the space of a case.

    Args:
        case: as plain values.
    """
    network = case["network"]
    widths = network.get("widths") or _WIDTHS.get(network["backbone"])
    space: dict[str, Any] = {
        "network.sharing": {"choice": [{"kind": kind} for kind in ("hard", "mmoe", "cgc")]},
        "network.head.hidden": {"choice": [[], [64]]},
    }
    if widths and not network.get("pretrained"):
        scaled = [[max(1, int(width * factor)) for width in widths] for factor in (0.5, 1, 2)]
        space["network.widths"] = {"choice": scaled}
    return space
