"""The prediction for task B implied by a multilabel task A's: noisy-OR, or naive Bayes for a multiclass B."""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.implied import LOG_IMPOSSIBLE, Implied
from mtlcore.losses.trust_of_cells import split_trust
from mtlcore.relatedness.device_cache import Causes, RareCells, SpreadCells, cached_on_device, cause_view
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass

# Below this a float32 sum of products has lost digits to underflow, and the exact form takes over.
_UNDERFLOW = 1e-30
_CHUNK = 1 << 22  # entries held at once where a row is taken at a time


def log_implied_by_labels(
    z_A: Tensor, relatedness: Relatedness, tau: float = 1.0, trust: Tensor | None = None
) -> Implied:
    r"""Compute what a multilabel A's logits imply of B; p_A = sigmoid(z_A / tau).

    For a multilabel B by noisy-OR (Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988): each label of A
    that holds is a cause that brings label l about with probability R[k, l], independently of the others,

    .. math:: 1 - q_B[l] = (1 - b[l]) \prod_k (1 - p_A[k] R[k, l])

    with b the relatedness's ``base`` (the leak; 0 where not given: nothing of B holds without a cause in A). For a
    multiclass B by pooling the labels that hold as in naive Bayes, with b as B's class prior,

    .. math:: \log q_B[c] = \log b[c] + \sum_k p_A[k] (\log R[k, c] - \log b[c]) - \text{normaliser}

    where logarithms of 0 are bounded at -100. The assumption in both: the labels of A act independently on B.

    An unknown cell of a label is a cause of unknown strength. It takes no part, and an entry weighs as much as the
    probability that no label whose cell is unknown holds. A row of trust t in [0, 1] is known with probability t:
    given that only labels with known rows hold, the odds of label k are those of p_A[k], times t. So trust 1 changes
    nothing and trust 0 makes the row unknown.

    Args:
        z_A: logits of A, float32 or float64, shape (N, K).
        relatedness: R of a multilabel A to B.
        tau: matching temperature, > 0.
        trust: how far each row is trusted, shape (K,), in [0, 1], or each cell, (K, L), where a row counts as its least
            trusted cell; 1 where not given.

    Returns:
        log q_B, log(1 - q_B) (zeros for a multiclass B, which has no use for it) and the weight of every entry; value
        and gradient are finite for logits in [-1e4, 1e4]. Memory is linear in N x L and N x K.

    Example:
        >>> import torch
        >>> from mtlcore import Multilabel, Relatedness, log_implied_by_labels
        >>> A, B = Multilabel("parts", ("wings", "fins")), Multilabel("moves", ("flies", "swims"))
        >>> R = Relatedness.from_rows(A, B, {"wings": {"flies": 0.8}, "fins": "swims"})
        >>> log_implied_by_labels(torch.tensor([[50.0, -50.0]]), R).log_q.exp()[0, 0]
        tensor(0.8000)
    """
    causes = cached_on_device(relatedness, cause_view, z_A.device, z_A.dtype)
    t = None if trust is None else split_trust(trust.to(z_A), relatedness).rows
    z = z_A / tau
    shares = _shares(z.detach(), causes, t)
    if t is not None:  # a row without trust causes nothing
        z = (z + torch.where(t > 0, t, torch.ones_like(t)).log()).masked_fill(t == 0, -torch.inf)
    if isinstance(relatedness.target, Multiclass):
        base = relatedness.base
        b = torch.full_like(causes.R[0], 1 / len(causes.R[0])) if base is None else base.to(causes.R)
        is_known = causes.known > 0 if t is None else (causes.known > 0) & (t > 0)[:, None]
        log_q = pooled(torch.sigmoid(z), causes.R, is_known, b)
        return Implied(log_q, torch.zeros_like(log_q), *shares)
    b = torch.zeros_like(causes.R[0]) if relatedness.base is None else relatedness.base.to(causes.R)
    no_cause = causes.no_cause if t is None else (t > 0).to(t.dtype) @ (causes.R > 0).to(t.dtype) == 0
    return Implied(*_noisy_or(z, causes, b, no_cause), *shares)


def pooled(holds: Tensor, R: Tensor, is_known: Tensor, prior: Tensor) -> Tensor:
    """Return log q_B over classes, shape (N, C): the prior times every holding label's evidence R / prior.

    Args:
        holds: how far each label of A holds, shape (N, K), in [0, 1].
        R: shape (K, C), 0 where unknown.
        is_known: shape (K, C); an unknown row is no evidence.
        prior: B's class prior, shape (C,).
    """
    log_prior = prior.log().clamp(min=LOG_IMPOSSIBLE)
    evidence = torch.where(is_known, R.log().clamp(min=LOG_IMPOSSIBLE) - log_prior, torch.zeros_like(R))
    return torch.log_softmax(log_prior + holds @ evidence, dim=1)


def _shares(z: Tensor, causes: Causes, t: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return P(no label of A with an unknown cell holds) by entry, its logarithm, and that of the rest, (N, L)."""
    labels = causes.R.shape[1]
    if t is None and causes.wholly_known:
        log_known = torch.zeros_like(z[:, :1]).expand(-1, labels)
        return log_known.exp(), log_known, (-torch.expm1(log_known)).log()
    absent = F.logsigmoid(-z)
    usable, any_known = torch.zeros_like(absent), causes.some_known
    if t is not None:
        usable = torch.logaddexp(absent, F.logsigmoid(z) + t.log())  # absent, or present with a row that is right
        usable = torch.where(t == 1, torch.zeros_like(usable), usable)
        any_known = (t > 0).to(t.dtype) @ causes.known > 0
    log_known = usable @ causes.known + absent @ (1 - causes.known)
    known = torch.where(any_known, log_known.exp(), torch.zeros_like(log_known))
    return known, log_known, torch.where(any_known, (-torch.expm1(log_known)).log(), torch.zeros_like(log_known))


def _noisy_or(z: Tensor, causes: Causes, leak: Tensor, no_cause: Tensor) -> tuple[Tensor, Tensor]:
    """Return log q and log(1 - q), shape (N, L), for logits z, shape (N, K)."""
    leak = torch.where(leak < _UNDERFLOW, torch.zeros_like(leak), leak)
    log_none = LogNoCause.apply(z, causes)  # type: ignore[no-untyped-call]
    # A leak of 1 brings the label about whatever holds: its logarithm is set, as log(0) has no gradient.
    always = leak >= 1
    log_no_leak = torch.where(always, torch.zeros_like(leak), torch.log1p(-leak))
    # Not bounded from below by itself: a sure cause of a sure effect leaves log(1 - q) = -z, with its gradient.
    log_none = log_none + log_no_leak
    impossible = no_cause & (leak == 0)
    q = -torch.expm1(log_none)
    lost = (q < _UNDERFLOW) & ~impossible & ~always
    # Two forms of log(1 - exp(x)), each exact where the other cancels: M. Maechler, "Accurately computing
    # log(1 - exp(-|a|))", 2012.
    large = log_none < -0.5
    log_q = torch.where(
        large,
        torch.log1p(-torch.where(large, log_none, torch.full_like(q, -1.0)).exp()),
        torch.where(lost | impossible | large, torch.ones_like(q), q).log(),
    )
    if bool(lost.any()):
        log_q = log_q.masked_scatter(lost, _exact_log_q(z, causes.R, lost))
    log_q = torch.where(impossible, torch.full_like(q, LOG_IMPOSSIBLE), log_q)
    log_q = torch.where(always, torch.zeros_like(q), log_q)
    return log_q, torch.where(always, torch.full_like(q, LOG_IMPOSSIBLE), log_none)


def _exact_log_q(z: Tensor, R: Tensor, entries: Tensor) -> Tensor:
    """Return log q for entries so small that q is the sum of its causes: log sum_k p[n, k] R[k, l]."""
    log_p, log_R = F.logsigmoid(z), R.log().t()
    rows, columns = entries.nonzero(as_tuple=True)
    size = max(1, _CHUNK // z.shape[1])
    parts = [
        torch.logsumexp(log_p[rows[i : i + size]] + log_R[columns[i : i + size]], dim=1)
        for i in range(0, len(rows), size)
    ]
    return torch.cat(parts)


class LogNoCause(torch.autograd.Function):
    r"""log(1 - q) of noisy-OR, :math:`\sum_k \log(1 - \sigma(z[n, k]) R[k, l])`, shape (N, L).

    A value v that stands in many cells of R takes one matrix product, :math:`\log(1 - v \sigma(z)) [R = v]`, which is
    exact: for a table of few distinct values that is all. Where many values crowd an interval, the quotient
    :math:`\log(1 - v \sigma(z)) / v`, smooth in v, is interpolated there: with Chebyshev polynomials T of v that is a
    matrix product a polynomial, :math:`\sum_j c_j(z) \, [v T_j(v)]`, as exact as the dtype (see
    :mod:`mtlcore.relatedness.device_cache`). Other cells are gone through some at a time, forward and backward, so that
    no tensor of shape (N, K, L) is kept. The gradient is -p R sigmoid(-(z + log(1 - R))), bounded by 1 for any logit.
    The table gets no gradient.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, causes: Causes) -> Tensor:
        """See the class."""
        ctx.save_for_backward(z)
        ctx.causes = causes
        p, absent = torch.sigmoid(z), torch.sigmoid(-z)
        total = torch.zeros(len(z), causes.R.shape[1], dtype=z.dtype, device=z.device)
        for value, cells in causes.common:
            total += (F.logsigmoid(-z) if value == 1 else _log_fails(p, absent, value)) @ cells
        for spread in causes.spread:
            at_nodes = torch.stack([_log_fails(p, absent, value) / value for value in spread.nodes])
            weights = torch.einsum("ji,ink->jnk", spread.coefficients, at_nodes)
            for coefficient, polynomial in zip(weights, _polynomials(spread), strict=True):
                total.addmm_(coefficient, polynomial)
        if len(causes.rare.values):
            p, absent, by_label = p.t().contiguous(), absent.t().contiguous(), total.t().contiguous()
            for rows, columns, values in _some_at_a_time(causes.rare, len(z)):
                by_label.index_add_(0, columns, _log_fails(p[rows], absent[rows], values[:, None]))
            total = by_label.t()
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """See the class."""
        (z,), causes = ctx.saved_tensors, ctx.causes
        (gradient,) = gradients
        of_z = torch.zeros_like(z)
        for value, cells in causes.common:
            slope = torch.ones_like(z) if value == 1 else value * torch.sigmoid(-(z + math.log1p(-value)))
            of_z = of_z + slope * (gradient @ cells.t())
        for spread in causes.spread:
            by_polynomial = torch.stack([gradient @ polynomial.t() for polynomial in _polynomials(spread)])
            by_node = torch.einsum("ji,jnk->ink", spread.coefficients, by_polynomial)
            for value, of_node in zip(spread.nodes, by_node, strict=True):
                of_z = of_z + torch.sigmoid(-(z + math.log1p(-value))) * of_node
        if len(causes.rare.values):
            z_of, gradient_of = z.t().contiguous(), gradient.t().contiguous()
            by_cause = torch.zeros_like(z_of)
            for rows, columns, values in _some_at_a_time(causes.rare, len(z)):
                slope = values[:, None] * torch.sigmoid(-(z_of[rows] + torch.log1p(-values)[:, None]))
                by_cause = by_cause.index_add(0, rows, slope * gradient_of[columns])
            of_z = of_z + by_cause.t()
        return -torch.sigmoid(z) * of_z, None


def _polynomials(spread: SpreadCells) -> Iterator[Tensor]:
    """Yield v T_j(v) of every cell, (K, L), for j from 0 on; 0 outside the interval."""
    before, now = spread.values, spread.position * spread.values
    yield before
    for _ in range(len(spread.nodes) - 1):
        yield now
        before, now = now, (2 * spread.position).mul_(now).sub_(before)


def _log_fails(p: Tensor, absent: Tensor, value: float | Tensor) -> Tensor:
    """Return log(1 - p v) in the form that is exact: for small p v the first, for large ones the second."""
    product = p * value
    return torch.where(product < 0.5, torch.log1p(-product.clamp(max=0.5)), (absent + p * (1 - value)).log())


def _some_at_a_time(cells: RareCells, inputs: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    size = max(1, _CHUNK // max(1, inputs))
    for i in range(0, len(cells.values), size):
        yield cells.rows[i : i + size], cells.columns[i : i + size], cells.values[i : i + size]
