"""The prediction for task B implied by a multiclass task A's prediction through the relatedness, in log space."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mtlcore.relatedness.device_cache import Cells, matching_view

# The logarithm of a probability that is 0 by the table alone (no class of A allows it), as in
# torch.nn.BCELoss, which bounds its logarithms at the same value.
LOG_IMPOSSIBLE = -100.0
# Below this a float32 sum of products has lost digits to underflow, and the exact form takes over.
_UNDERFLOW = 1e-30
_EXACT_CHUNK = 1 << 22  # numbers held at once by the exact form: 16 MB in float32


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
    by their probability. A row, or a cell, that is trusted less takes part less, by the same rule: trust 0 is as
    unknown. Costs one matrix product, (N, C) by (C, 2 L), and where cells are unknown one by (C, L) without gradient.
    Where float32 sums underflow (A is so sure that exp() of the difference is no longer a number) those entries alone
    are computed as a logsumexp, so value and gradient stay exact for logits in [-1e4, 1e4].

    Args:
        z_A: logits of A, float32 or float64, shape (N, C).
        R: relatedness, same dtype, shape (C, L), in [0, 1] or NaN.
        tau: matching temperature, > 0.
        trust: of each row, same dtype, shape (C,), or of each cell, (C, L), in [0, 1], without gradient; 1 where it is
            not given. Over the classes of a multiclass B a row is known as a whole: give it one trust.

    Example:
        >>> import torch
        >>> R = torch.tensor([[0.0], [0.8]])  # of two classes, to one label
        >>> log_implied(torch.tensor([[0.0, 0.0]]), R).log_q.exp()
        tensor([[0.4000]])
    """
    return implied_by_cells(z_A, matching_view(R), tau, trust)


def implied_by_cells(z_A: Tensor, cells: Cells, tau: float = 1.0, trust: Tensor | None = None) -> Implied:
    """Compute :func:`log_implied` from a table as :func:`mtlcore.relatedness.device_cache.matching_view` reads it."""
    labels = len(cells.impossible) // 2
    log_p = torch.log_softmax(z_A / tau, dim=1)
    p, impossible = log_p.exp(), cells.impossible
    trusted, log_trusted, holds_or_not = p, log_p, cells.holds_or_not
    if trust is not None and trust.dim() == 1:
        trusted, log_trusted = p * trust, log_p + trust.log()
        impossible = (trust > 0).to(p.dtype) @ holds_or_not == 0
    elif trust is not None:
        holds_or_not = holds_or_not * trust.repeat(1, 2)
        impossible = (holds_or_not == 0).all(dim=0)
    # Holds and holds not in one product: 1 - q would lose the digits of a q near 1.
    mass = trusted @ holds_or_not  # (N, 2 L): l and c, not l and c
    # A label that no class allows (or that all demand) has no sum to take the logarithm of.
    log_mass = _log_mass(mass, impossible, log_trusted, holds_or_not).masked_fill(impossible, LOG_IMPOSSIBLE)
    if trust is None and cells.unknown is None:
        log_mass = log_mass.clamp(max=0.0)
        ones = torch.ones_like(mass[:1, :1]).expand(len(mass), labels)
        return Implied(log_mass[:, :labels], log_mass[:, labels:], ones, ones.log(), (ones - ones).log())
    log_known = torch.logaddexp(log_mass[:, :labels], log_mass[:, labels:])
    log_conditional = torch.where(impossible, log_mass, log_mass - log_known.repeat(1, 2))
    known = (mass[:, :labels] + mass[:, labels:]).detach().clamp(max=1.0)
    return Implied(
        log_q=log_conditional[:, :labels],
        log_not_q=log_conditional[:, labels:],
        known=known,
        log_known=log_known.detach(),
        log_unknown=_log_unknown(log_p.detach(), cells, trust).expand_as(known),
    )


@torch.no_grad()
def _log_unknown(log_p: Tensor, cells: Cells, trust: Tensor | None) -> Tensor:
    """Return the logarithm of A's probability of classes whose cell is unknown or not trusted: (N, L), or (N, 1)."""
    if trust is None:
        assert cells.unknown is not None
        unknown = cells.unknown
    else:
        of_cells = trust[:, None] if trust.dim() == 1 else trust
        unknown = 1 - of_cells if cells.unknown is None else 1 - of_cells * (1 - cells.unknown)
    all_known = (unknown == 0).all(dim=0)
    return _log_mass(log_p.exp() @ unknown, all_known, log_p, unknown).masked_fill(all_known, -torch.inf)


def _log_mass(mass: Tensor, impossible: Tensor, log_p: Tensor, cells: Tensor) -> Tensor:
    """Return log(p @ cells), given the product; exact where it underflowed, 0 where it is impossible."""
    lost = (mass < _UNDERFLOW) & ~impossible
    log_mass = mass.masked_fill(lost | impossible, 1.0).log()
    if bool(lost.any()):
        exact = ExactLogMass.apply(log_p, cells, *lost.nonzero(as_tuple=True))  # type: ignore[no-untyped-call]
        log_mass = log_mass.masked_scatter(lost, exact)
    return log_mass


class ExactLogMass(torch.autograd.Function):
    """log(sum_c p[n, c] cells[c, k]) for the entries (n, k) that are asked for, some at a time.

    The backward pass computes the shares of the classes anew, so that what is kept is (N, C) and (C, K) however many
    entries there are. ``cells`` gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, log_p: Tensor, cells: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """See the class."""
        # Only the few entries that underflowed come here, so a row of classes each is affordable.
        log_cells = cells.log().t()  # (K, C), -inf for a zero
        parts = [
            torch.logsumexp(log_p[rows[part]] + log_cells[columns[part]], dim=1)
            for part in _some_at_a_time(rows, log_p)
        ]
        log_mass = torch.cat(parts)
        ctx.save_for_backward(log_p, cells, rows, columns, log_mass)
        return log_mass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        """See the class."""
        log_p, cells, rows, columns, log_mass = ctx.saved_tensors
        (gradient,) = gradients
        log_cells, of_log_p = cells.log().t(), torch.zeros_like(log_p)
        for part in _some_at_a_time(rows, log_p):
            shares = (log_p[rows[part]] + log_cells[columns[part]] - log_mass[part, None]).exp()
            of_log_p = of_log_p.index_add(0, rows[part], shares * gradient[part, None])
        return of_log_p, None, None, None


def _some_at_a_time(rows: Tensor, log_p: Tensor) -> list[slice]:
    size = max(1, _EXACT_CHUNK // log_p.shape[1])
    return [slice(i, i + size) for i in range(0, len(rows), size)]
