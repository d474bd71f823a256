"""The prediction for task B implied by task A's, of either kind: what DM and ILL have in common."""

import torch
from torch import Tensor

from mtlcore.losses.implied import Implied, implied_by_cells
from mtlcore.losses.implied_multilabel import log_implied_by_labels
from mtlcore.losses.loss_term import in_full_precision
from mtlcore.losses.trust_of_cells import split_trust
from mtlcore.relatedness.device_cache import cached_on_device, matching_view
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multilabel


@in_full_precision
def implied_prediction(z_A: Tensor, relatedness: Relatedness, tau: float = 1.0, trust: Tensor | None = None) -> Implied:
    """Compute :func:`mtlcore.log_implied`, or for a multilabel A :func:`mtlcore.log_implied_by_labels`.

    Args:
        z_A: logits of A, floating point, shape (N, C).
        relatedness: R of A to B.
        tau: matching temperature, > 0.
        trust: of each row of R, shape (C,), or of each cell, (C, L), in [0, 1]; 1 where it is not given.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"cat": [], "crow": {"flies": 0.8}})
        >>> implied_prediction(torch.zeros(1, 2), R).log_q.exp()
        tensor([[0.4000]])
    """
    trust = None if trust is None else trust.to(z_A)
    if isinstance(relatedness.source, Multilabel):
        return log_implied_by_labels(z_A, relatedness, tau, trust)
    cells = cached_on_device(relatedness, matching_view, z_A.device, z_A.dtype)
    if trust is None:
        return implied_by_cells(z_A, cells, tau)
    rows, of_cells = split_trust(trust, relatedness)
    return implied_by_cells(z_A, cells, tau, rows if of_cells is None else trust)


def nothing_implied(inputs: int, outputs: int, device: torch.device) -> Implied:
    """Return an implied prediction of the right shape that costs nothing, for counting what losses are divided by."""
    zero = torch.zeros(1, 1, device=device).expand(inputs, outputs)
    return Implied(zero, zero, zero, zero, zero)
