"""Search space: all the others together, but for the widths of the network, for a long search.

Hundreds of trials, or it is random search in disguise: the more keys, the more of the first trials are needed to see
which of them matter. Start with `matching`, look at the importance of its keys, and come here with time to spare.
"""

from collections.abc import Mapping
from typing import Any

from tune_spaces import architecture, balancing, matching, mixing, optimisation, per_pair


def space(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return the space of a case.

    Args:
        case: as plain values.
    """
    parts = (matching.space(), per_pair.space(case), optimisation.space(case), mixing.space(), balancing.space())
    whole = {key: how for part in parts for key, how in part.items()}
    sharing = architecture.space(case)
    return whole | {key: sharing[key] for key in ("network.sharing", "network.head.hidden")}
