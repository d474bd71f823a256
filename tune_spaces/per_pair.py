"""Search space: a weight for every pair of related tasks, and one for every task.

One pair may help where another harms, which a weight of all pairs together cannot say; 0 leaves a pair out. A pair's
weight multiplies those of its losses, so the case's own stay in the middle of the range. A task's weight moves by a
factor of three each way: more would train one task at the cost of all others. Of two tasks weights are relative, yet
optimisers with momentum of the second order make an overall factor nearly void, so none is held still.
"""

from collections.abc import Mapping
from typing import Any


def space(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the space of a case.

    Args:
        case: as plain values.
    """
    pairs = {
        f"relatedness.{place}.weight": {"choice": [0.0, 0.1, 0.3, 1.0, 3.0]}
        for place, _ in enumerate(case.get("relatedness") or ())
    }
    return pairs | {f"training.task_weights.{task}": {"loguniform": [0.3, 3.0]} for task in case["tasks"]}
