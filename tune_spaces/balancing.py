"""Search space: how the objectives of the tasks are weighed against each other.

Methods of every family, with their published defaults, and of one that costs a pass: plain weights, weights learned by
uncertainty, by the rate of descent, at random, and by FAMO; gradients projected (PCGrad) and aligned (UPGrad). Those
that need a solver, and options of each, are left to a space of one's own: docs/balancing.md has the list.
"""

from typing import Any


def space() -> dict[str, Any]:
    """Return the space; a method is drawn as a whole, so that no option of another one stays."""
    methods = ("fixed", "uncertainty", "dwa", "random", "famo", "pcgrad", "upgrad")
    return {"training.balancing": {"choice": [{"method": method} for method in methods]}}
