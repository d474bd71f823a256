"""An objective: one part of the joint loss, which balancing weighs against the others."""

from typing import NamedTuple

from torch import Tensor

MATCHING = "matching"


class Objective(NamedTuple):
    """One of the losses that a shared network is trained for at once.

    Attributes:
        share: scalar, this worker's share of the objective over the global batch, in the graph; the shares of all
            workers add up to the objective.
        present: boolean scalar, the same on all workers: the objective has a weight, and something in the global
            batch counts for it.
    """

    share: Tensor
    present: Tensor
