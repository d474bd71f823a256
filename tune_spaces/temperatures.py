"""Search space: the two temperatures alone, for a case whose weights are settled.

Both on a logarithmic scale: what matters is the factor. A tau of 0.3 makes distributions nearly certain, one of 3
nearly flat. A tau_co of 1 is the posterior itself; the paper's score wants one well under 1.
"""

from typing import Any


def space() -> dict[str, Any]:
    """Return the space of the matching temperature tau and the co-annotation temperature tau_co."""
    return {
        "training.matching.dm.tau": {"loguniform": [0.3, 3.0]},
        "training.matching.sca.tau_co": {"loguniform": [0.03, 3.0]},
    }
