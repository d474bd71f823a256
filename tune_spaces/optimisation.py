"""Search space: how networks are optimised: learning rate, batch, weight decay, warm-up and clipping.

The learning rate goes over two orders of magnitude about the usual one of each optimiser. A batch is half, the same, or
twice the case's: the number of steps stays, so a larger batch also sees more rows. Weight decay matters by its order of
magnitude. It is for a search over matching to come after: what it finds helps the baselines as well.
"""

from collections.abc import Mapping
from typing import Any


def space(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the space of a case.

    Args:
        case: as plain values.
    """
    training = case["training"]
    batch, sgd = int(training["batch_size"]), training["optimizer"]["name"] == "sgd"
    space: dict[str, Any] = {
        "training.optimizer.lr": {"loguniform": [1e-3, 1.0] if sgd else [1e-4, 1e-2]},
        "training.optimizer.weight_decay": {"loguniform": [1e-6, 1e-1]},
        "training.batch_size": {"choice": [max(2, batch // 2), max(2, batch), 2 * max(2, batch)]},
        "training.clip_norm": {"choice": [None, 1.0, 5.0]},
    }
    return space | ({"training.optimizer.momentum": {"choice": [0.8, 0.9, 0.95]}} if sgd else {})
