r"""A relatedness table read backwards: classes from another task's prediction, without any co-training.

C. H. Lampert, H. Nickisch, S. Harmeling, "Learning to Detect Unseen Object Classes by Between-Class Attribute
Transfer", CVPR 2009 (direct attribute prediction), for tables of probabilities. It also tells classes without a single
labelled input.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass

_FEW_VALUES = 8
_ENTRIES_AT_ONCE = 1 << 22
_MOST_STEPS = 50
_MOST_ENTRIES = 1 << 22


@dataclass(frozen=True)
class FusionWeights:
    """How much each part counts in a log-linear fusion, >= 0.

    The defaults are for want of held-out labels: a head that learned from few inputs is surer than it is right, and
    half of its logits fused as well as fitted weights did on digits (0.95 where 1 and 1 gave 0.94).

    Attributes:
        head: of the class head's logits; 0: the table alone.
        table: of what the table says, beside the head.
        alone: of what the table says where it is alone: below 1 where labels say the same thing several times.
    """

    head: float = 0.5
    table: float = 1.0
    alone: float = 1.0


def table_evidence(z_B: Tensor, relatedness: Relatedness, prior_B: Tensor, doubt: float = 0.1) -> Tensor:
    r"""Compute what B's prediction says for each class of A.

    Given the class, B's labels are taken to be independent of each other and of whatever else the input shows:

    .. math:: e[n, c] = \log \frac{p(x_n | c)}{p(x_n)} = \sum_l \log \Big( \epsilon + (1 - \epsilon) \Big(
        \frac{p_B[n, l] R[c, l]}{\pi_B[l]} + \frac{(1 - p_B[n, l]) (1 - R[c, l])}{1 - \pi_B[l]} \Big) \Big)

    and for a multiclass B :math:`\log(\epsilon + (1 - \epsilon) \sum_k p_B[n, k] R[c, k] / \pi_B[k])`. The prior in
    the denominator is what B's network has learned from the frequencies of its own training data. With probability
    :math:`\epsilon` a cell says nothing: so one wrong cell, or one sure mistake of B's network, rules no class out. An
    unknown cell says nothing at all.

    Args:
        z_B: B's logits, floating point, shape (N, L).
        relatedness: R of A to B; A is multiclass.
        prior_B: how often each label or class of B holds in B's training data, shape (L,), in (0, 1); a multiclass
            B's sums to 1.
        doubt: :math:`\epsilon`, in (0, 1).

    Returns:
        e, float64, shape (N, C).

    Raises:
        ValueError: A is not multiclass, or a number is out of range.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> animal, traits = Multiclass("animal", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(animal, traits, {"cat": [], "crow": "flies"})
        >>> table_evidence(torch.tensor([[9.0]]), R, torch.tensor([0.5])).softmax(dim=1).round(decimals=2)
        tensor([[0.0500, 0.9500]], dtype=torch.float64)
    """
    A, B, prior = relatedness.source, relatedness.target, prior_B.double()
    if not isinstance(A, Multiclass):
        raise ValueError(f"{relatedness.edge}: {A.name!r} is multilabel; a table is read backwards to classes alone")
    if not 0 < doubt < 1:
        raise ValueError(f"doubt: found {doubt:g}; expected a number in (0, 1)")
    if tuple(prior.shape) != (len(B.outputs),) or not bool(((prior > 0) & (prior < 1 + 1e-9)).all()):
        raise ValueError(f"prior_B: found {prior.tolist()}; expected {len(B.outputs)} numbers in (0, 1)")
    z, R = z_B.double(), relatedness.table
    known = ~R.isnan()
    if isinstance(B, Multiclass):
        ratio = (z.softmax(dim=1) / prior) @ R.nan_to_num(0.0).t()
        return (doubt + (1 - doubt) * ratio).log().masked_fill(~known.all(dim=1), 0.0)
    holds, not_holds = z.sigmoid() / prior, (-z).sigmoid() / (1 - prior)

    def cell(value: Tensor, part: slice = slice(None)) -> Tensor:
        return (doubt + (1 - doubt) * (holds[part] * value + not_holds[part] * (1 - value))).log()

    values = torch.unique(R[known])
    if len(values) <= _FEW_VALUES:  # a sum over the table's values is a few matrix products
        return sum((cell(value) @ (known & (value == R)).double().t() for value in values), z.new_zeros(len(z), len(R)))
    found = z.new_empty(len(z), len(R))
    for c, (row, of_row) in enumerate(zip(R.nan_to_num(0.0), known, strict=True)):
        size = max(1, _ENTRIES_AT_ONCE // R.shape[1])
        for first in range(0, len(z), size):
            part = slice(first, first + size)
            found[part, c] = (cell(row, part) * of_row).sum(dim=1)
    return found


def read_classes(evidence: Tensor, prior: Tensor, weight: float = 1.0) -> Tensor:
    r"""Read the table backwards: :math:`p(c | x) \propto \pi(c) \, e^{w \, e[c]}`.

    Args:
        evidence: the sum of :func:`table_evidence` over A's edges, float64, shape (N, C).
        prior: A's class prior, shape (C,), >= 0; need not sum to 1.
        weight: w; below 1 where labels say the same thing several times.

    Returns:
        log p(c | x), float64, shape (N, C); -inf for a class with a prior of 0.

    Example:
        >>> import torch
        >>> read_classes(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([3.0, 1.0])).exp()
        tensor([[0.7500, 0.2500]], dtype=torch.float64)
    """
    return torch.log_softmax(prior.double().log() + weight * evidence, dim=1)


def fuse_log_linear(
    z_A: Tensor, evidence: Tensor, prior: Tensor, weights: FusionWeights, seen: Tensor | None = None
) -> Tensor:
    r"""Join a class head's prediction with what the table says: :math:`p(c | x) \propto p_A(c | x)^a \, e^{b \, e[c]}`.

    The prior is in the head already. A class that the head has never seen labelled has no say in the head: how much
    falls to all such classes, and to each, the table alone decides, and the rest is divided by the fusion.

    Args:
        z_A: A's logits, shape (N, C).
        evidence: as for :func:`read_classes`.
        prior: as for :func:`read_classes`.
        weights: a, b, and what the table weighs for the classes that the head has not seen.
        seen: bool, shape (C,): which classes have labelled training inputs; all where not given.

    Returns:
        log p(c | x), float64, shape (N, C).

    Example:
        >>> import torch
        >>> z, e = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]], dtype=torch.float64)
        >>> fuse_log_linear(z, e, torch.ones(2), FusionWeights()).argmax(dim=1)
        tensor([0])
    """
    fused = weights.head * z_A.double() + weights.table * evidence
    if seen is None or bool(seen.all()):
        return torch.log_softmax(fused, dim=1)
    by_table = read_classes(evidence, prior, weights.alone)
    among_seen = torch.log_softmax(fused.masked_fill(~seen, -torch.inf), dim=1)
    return torch.where(seen, among_seen + by_table[:, seen].logsumexp(dim=1, keepdim=True), by_table)


def fit_fusion(
    z_A: Tensor | None,
    evidence: Tensor,
    prior: Tensor,
    labels: Tensor,
    *,
    seen: Tensor | None = None,
    start: FusionWeights | None = None,
) -> FusionWeights:
    """Choose the weights that make held-out labels most likely, which calibrates the fusion too.

    Maximum likelihood over the classes that were seen, drawn towards ``start`` as strongly as by one input, by Newton's
    method: the problem is convex. Weights are kept >= 0. Beyond four million inputs times classes, evenly spaced inputs
    are looked at: two weights need no more.

    Args:
        z_A: A's logits on held-out inputs, shape (N, C); None: the table alone, the others' weights are 0.
        evidence: as for :func:`read_classes`.
        prior: as for :func:`read_classes`.
        labels: integer, shape (N,), -1 where not annotated.
        seen: as for :func:`fuse_log_linear`.
        start: what is kept where no input is annotated.

    Returns:
        the weights.

    Example:
        >>> import torch
        >>> y = torch.arange(100) % 2
        >>> right = torch.nn.functional.one_hot(y, 2).double()
        >>> fit_fusion(torch.zeros(100, 2), right, torch.ones(2), y).table > 1
        True
    """
    start = start or FusionWeights()
    seen = torch.ones(evidence.shape[1], dtype=torch.bool) if seen is None else seen
    usable = ((labels != MISSING) & seen[labels.clamp(min=0).long()]).nonzero().flatten()
    usable = usable[:: -(-len(usable) * evidence.shape[1] // _MOST_ENTRIES) or 1]
    place = (seen.cumsum(dim=0) - 1)[labels[usable].long()]
    log_prior = prior.double()[seen].log()
    e = evidence[usable][:, seen]
    (alone,) = _most_likely(e[:, :, None], log_prior, place, (start.alone,))
    if z_A is None:
        return FusionWeights(0.0, 0.0, alone)
    x = torch.stack([z_A[usable][:, seen].double(), e], dim=2)
    head, table = _most_likely(x, torch.zeros_like(log_prior), place, (start.head, start.table))
    return FusionWeights(head, table, alone)


def _most_likely(x: Tensor, offset: Tensor, place: Tensor, start: tuple[float, ...]) -> list[float]:
    """Return the w >= 0 of the least sum of -log softmax(x w + offset)[place] + |w - start|^2 / 2; x is (N, C, P)."""
    w0 = torch.tensor(start, dtype=torch.float64)
    w = _newton(x, offset, place, w0, torch.ones(len(w0), dtype=torch.bool))
    if bool((w < 0).any()):
        w = _newton(x, offset, place, w0, w >= 0)
    return [max(0.0, value) for value in w.tolist()]


def _newton(x: Tensor, offset: Tensor, place: Tensor, w0: Tensor, free: Tensor) -> Tensor:
    """Return the most likely w, of which those that are not free are 0."""
    rows = torch.arange(len(x))

    def cost(w: Tensor) -> Tensor:
        return -torch.log_softmax(x @ w + offset, dim=1)[rows, place].sum() + (w - w0).square().sum() / 2

    w = w0 * free
    for _ in range(_MOST_STEPS if bool(free.any()) else 0):
        p = torch.softmax(x @ w + offset, dim=1)
        mean = torch.einsum("nc,ncp->np", p, x)
        gradient = (mean - x[rows, place]).sum(dim=0) + w - w0
        hessian = torch.einsum("nc,ncp,ncq->pq", p, x, x) - mean.t() @ mean + torch.eye(len(w), dtype=x.dtype)
        step = torch.zeros_like(w)
        step[free] = torch.linalg.solve(hessian[free][:, free], gradient[free])
        size, now = 1.0, cost(w)
        while size > 1e-6 and bool(cost(w - size * step) > now):
            size /= 2
        w = w - size * step
        if bool((size * step).abs().max() < 1e-9):
            break
    return w
