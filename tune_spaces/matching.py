"""Search space: weights and temperatures of distribution matching and soft co-annotation."""

from typing import Any

from ray import tune


def space() -> dict[str, Any]:
    """Return the space; temperatures matter more than weights (a tau_co well under 1 is where gains were found)."""
    return {
        "dm.weight": tune.choice([0.0, 0.1, 0.3, 1.0]),
        "dm.tau": tune.loguniform(0.3, 3.0),
        "sca.weight": tune.loguniform(0.1, 3.0),
        "sca.tau_co": tune.loguniform(0.03, 1.0),
    }
