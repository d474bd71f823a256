"""Search space: the two temperatures alone, for a case whose weights are settled."""

from typing import Any

from ray import tune


def space() -> dict[str, Any]:
    """Return the space of the matching temperature tau and the co-annotation temperature tau_co.

    A tau_co of 1 is the posterior itself; the paper's score wants one well under 1.
    """
    return {"dm.tau": tune.loguniform(0.3, 3.0), "sca.tau_co": tune.loguniform(0.03, 3.0)}
