"""Search space: weights and temperatures alone, all of which may change while a run trains; for `tuning.search: pbt`.

No form and no direction, which cannot change with the step, and no condition, since a population moves each value by
itself. Ranges are those of `matching`, from a weight that is next to nothing on: a weight of 0 would stay 0 where
values move by factors, and only a draw anew would leave it.
"""

from typing import Any

_MATCHING = "training.matching"


def space() -> dict[str, Any]:
    """Return the space."""
    return {
        f"{_MATCHING}.ill.weight": {"loguniform": [0.01, 10.0]},
        f"{_MATCHING}.dm.weight": {"loguniform": [0.01, 1.0]},
        f"{_MATCHING}.dm.tau": {"loguniform": [0.3, 3.0]},
        f"{_MATCHING}.sca.weight": {"loguniform": [0.01, 3.0]},
        f"{_MATCHING}.sca.tau_co": {"loguniform": [0.03, 3.0]},
    }
