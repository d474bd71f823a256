"""The prediction for task B that a prediction for task A implies through the relatedness, in log space."""

from typing import NamedTuple

import torch
from torch import Tensor

# The logarithm of a probability that is 0 by the table alone (no class of A allows it), as in
# torch.nn.BCELoss, which bounds its logarithms at the same value.
LOG_IMPOSSIBLE = -100.0
# Below this a float32 sum of products has lost digits to underflow, and the exact form takes over.
_UNDERFLOW = 1e-30
_EXACT_CHUNK = 1 << 22


class Implied(NamedTuple):
    """What A implies of B.

    Attributes:
        log_q: log q_B, shape (N, L), <= 0.
        log_not_q: log(1 - q_B), shape (N, L), <= 0; for a multilabel B.
        known: the share of A's probability that lies on classes whose cell for the label is known, each weighed by
            its trust, shape (N, L), in [0, 1], without gradient: 1 where the whole table is known and trusted.
        log_known: its logarithm, exact where the share is too small for a number, shape (N, L).
        log_unknown: the logarithm of the rest of A's probability, the same way; -inf where the label's whole column
            is known and trusted.
    """

    log_q: Tensor
    log_not_q: Tensor
    known: Tensor
    log_known: Tensor
    log_unknown: Tensor


def log_implied(z_A: Tensor, R: Tensor, tau: float = 1.0, trust: Tensor | None = None) -> Implied:
    r"""Compute what A's logits imply of B.

    .. math:: q_B[l] = \sum_c \mathrm{softmax}(z_A / \tau)[c] \, R[c, l]

    An unknown cell (NaN) takes no part: the sum runs over the classes that are known for the label and is divided
    by their probability. A row that is trusted less takes part less, by the same rule: trust 0 is as unknown. Costs
    one matrix product, (N, C) by (C, 3 L). Where float32 sums underflow (A is
    so sure that exp() of the difference is no longer a number) those entries alone are computed as a logsumexp, so
    value and gradient stay exact for logits in [-1e4, 1e4].

    Args:
        z_A: logits of A, float32 or float64, shape (N, C).
        R: relatedness, same dtype, shape (C, L), in [0, 1] or NaN.
        tau: matching temperature, > 0.
        trust: of each row, same dtype, shape (C,), in [0, 1], without gradient; 1 where it is not given.

    Example:
        >>> import torch
        >>> R = torch.tensor([[0.0], [0.8]])  # of two classes, to one label
        >>> log_implied(torch.tensor([[0.0, 0.0]]), R).log_q.exp()
        tensor([[0.4000]])
    """
    labels = R.shape[1]
    weights = (~torch.isnan(R)).to(R.dtype) * (1 if trust is None else trust[:, None])
    holds = torch.nan_to_num(R, nan=0.0) * weights
    cells = torch.cat([holds, weights - holds, 1 - weights], dim=1)  # (C, 3 L): l and c, not l and c, neither is known
    log_p = torch.log_softmax(z_A / tau, dim=1)
    mass = log_p.exp() @ cells  # (N, 3 L)
    known = (mass[:, :labels] + mass[:, labels : 2 * labels]).detach().clamp(max=1.0)

    # A label that no class allows (or that all demand) has no sum to take the logarithm of.
    impossible = (cells == 0).all(dim=0)
    lost = (mass < _UNDERFLOW) & ~impossible
    log_mass = torch.where(lost | impossible, torch.ones_like(mass), mass).log()
    if bool(lost.any()):
        log_mass = log_mass.masked_scatter(lost, _exact_log_mass(log_p, cells, lost))
    log_mass, log_unknown = log_mass.tensor_split([2 * labels], dim=1)
    impossible, all_known = impossible.tensor_split([2 * labels])
    log_mass = torch.where(impossible, torch.full_like(log_mass, LOG_IMPOSSIBLE), log_mass)
    log_known = torch.logaddexp(log_mass[:, :labels], log_mass[:, labels:])
    log_conditional = torch.where(impossible, log_mass, log_mass - log_known.repeat(1, 2))
    return Implied(
        log_q=log_conditional[:, :labels],
        log_not_q=log_conditional[:, labels:],
        known=known,
        log_known=log_known.detach(),
        log_unknown=log_unknown.detach().masked_fill(all_known, -torch.inf),
    )


def _exact_log_mass(log_p: Tensor, cells: Tensor, where: Tensor) -> Tensor:
    """Return log(sum_c p[n, c] cells[c, k]) for the entries (n, k) of ``where``, a part at a time."""
    log_cells = cells.log().t()  # (2 L, C), -inf for a zero
    rows, columns = where.nonzero(as_tuple=True)
    size = max(1, _EXACT_CHUNK // log_p.shape[1])
    parts = [
        torch.logsumexp(log_p[rows[i : i + size]] + log_cells[columns[i : i + size]], dim=1)
        for i in range(0, len(rows), size)
    ]
    return torch.cat(parts)
