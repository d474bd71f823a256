"""The soft labels of a multiclass task A that task B's labels suggest: the posterior, or the paper's score."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from mtlcore.losses.trust_of_cells import split_trust
from mtlcore.relatedness.device_cache import Evidence, Related, annotation_view, cached_on_device, evidence_view
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass

SourceForm = Literal["bayes", "paper"]


class CoAnnotated(NamedTuple):
    """What B's labels suggest of A.

    Attributes:
        q_A: soft labels, floating point, shape (N, C), whose rows sum to 1, or are all 0 for an input that says
            nothing.
        takes_part: of which classes B's labels say something, trusted or not, bool, shape (N, C).
        weight: how much an input counts: the trusted share of what its labels suggest, floating point, shape (N,), in
            [0, 1]; 0 for an input that says nothing, otherwise 1 where every row is trusted.
    """

    q_A: Tensor  # noqa: N815
    takes_part: Tensor
    weight: Tensor


def co_annotated_classes(
    y_B: Tensor,
    relatedness: Relatedness,
    tau_co: float = 1.0,
    prior: Tensor | None = None,
    trust: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    *,
    form: SourceForm = "bayes",
    clip: float = 0.05,
) -> CoAnnotated:
    r"""Soft labels of A from B's labels, where B is annotated.

    For a multilabel B, with products and sums over annotated labels and known cells:

    - ``bayes``, the posterior of naive Bayes, R clipped to [clip, 1 - clip] and the evidence tempered:

      .. math:: q_A[c] \propto \pi[c] \Big(\prod_l R[c,l]^{y_B[l]} (1 - R[c,l])^{1 - y_B[l]}\Big)^{1 / \tau_{co}}

      A label that does not hold speaks against the classes that have it; classes whose rows are alike share by their
      priors, whatever the temperature. A cell that is unknown counts as the mean of its column's known cells, weighed
      by prior and trust, by which the label says nothing of that class.
    - ``paper``, the score of Kollias et al., AAAI 2024 (arXiv 2401.01219), which sees the labels that hold alone:

      .. math:: s[c] = \frac{\sum_l R[c,l] \, y_B[l]}{\sum_l R[c,l]}, \qquad q_A = \mathrm{softmax}(s / \tau_{co})

      A class whose labels are a subset of another's scores 1 wherever the other does. A class whose cells are
      known, and which none of the annotated labels is related to, scores 0.

    For a multiclass B either form is Bayes' rule: q_A[c] is proportional to prior[c] R[c, y_B].
    Of a class whose cells for the annotated labels are all unknown, B says nothing: it takes no part. Nor does one
    whose row is not trusted at all; one that is trusted in part gets that part of its share.

    Args:
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        relatedness: R of A to B.
        tau_co: co-annotation temperature, > 0; takes no part for a multiclass B.
        prior: A's class prior, shape (C,), >= 0; uniform where it is not given. ``paper`` reads it for a multiclass B
            alone.
        trust: of each row of R, shape (C,), or of each cell, (C, L), in [0, 1]; 1 where it is not given. A cell counts
            as known with this weight.
        dtype: what it is computed in.
        form: ``bayes`` or ``paper``.
        clip: how near to 0 and to 1 a cell of R may come under ``bayes``, in [0, 0.5): how often a label is wrong. At
            0, logarithms of 0 are bounded at -100.

    Raises:
        ValueError: ``tau_co`` is not positive, ``form`` is neither of the two, or ``clip`` is out of range.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness, co_annotated_classes
        >>> A, B = Multiclass("species", ("cat", "lynx")), Multilabel("traits", ("furry", "wild"))
        >>> R = Relatedness.from_rows(A, B, {"cat": "furry", "lynx": ["furry", "wild"]})
        >>> furry_not_wild = torch.tensor([[1, 0]])
        >>> co_annotated_classes(furry_not_wild, R).q_A
        tensor([[0.9500, 0.0500]], dtype=torch.float64)
        >>> co_annotated_classes(furry_not_wild, R, tau_co=0.5, form="paper").q_A
        tensor([[0.7311, 0.2689]], dtype=torch.float64)
    """
    if not tau_co > 0:
        raise ValueError(f"tau_co: found {tau_co}; expected a positive co-annotation temperature")
    if form not in get_args(SourceForm):
        raise ValueError(f"form: found {form!r}; expected one of {get_args(SourceForm)}")
    if not 0 <= clip < 0.5:
        raise ValueError(f"clip: found {clip}; expected a number in [0, 0.5)")
    related = cached_on_device(relatedness, annotation_view, y_B.device, dtype)
    pi = torch.ones_like(related.R[:, 0]) if prior is None else prior.to(related.R)
    rows, cells = (None, None) if trust is None else split_trust(trust.to(related.R), relatedness)
    if isinstance(relatedness.target, Multiclass):
        annotated = (y_B != MISSING)[:, None]
        joint = pi * related.R[:, y_B.clamp(min=0)].t() * annotated
        total = joint.sum(dim=1, keepdim=True)
        takes_part = (related.known[:, 0] > 0) & annotated & (total > 0)  # a row is known or unknown as a whole
        suggested = joint / torch.where(total > 0, total, torch.ones_like(total))
    else:
        if cells is not None:
            related = Related(related.R, related.known * (cells > 0), False)
        annotated = (y_B != MISSING).to(dtype)
        says_something = annotated.any(dim=1, keepdim=True).expand(-1, len(pi))
        takes_part = says_something if related.wholly_known else annotated @ related.known.t() > 0
        if form == "bayes":
            shares = pi if rows is None else pi * rows
            evidence = _log_likelihood(y_B, annotated, relatedness, related, shares, cells, clip)
            score = evidence / tau_co + pi.log()
        else:
            R = related.R if cells is None else related.R * cells
            # One product of (2 N, L) and (L, C) for both.
            total, present = (torch.cat([annotated, annotated * y_B]) @ R.t()).chunk(2)
            score = present / torch.where(total > 0, total, torch.ones_like(total)) / tau_co
        # A class of prior 0 has a score of -inf, and among such alone no softmax is defined.
        takes_part = takes_part & (pi > 0) if form == "bayes" else takes_part
        suggested = torch.softmax(score.masked_fill(~takes_part, -torch.inf), dim=1)
        suggested = torch.where(takes_part, suggested, torch.zeros_like(suggested))
    if rows is None:
        return CoAnnotated(suggested, takes_part, takes_part.any(dim=1).to(dtype))
    # Not normalised first: what goes to classes of little trust is taken off the input's weight, not given to others.
    suggested = suggested * rows
    weight = suggested.sum(dim=1)
    return CoAnnotated(
        suggested / torch.where(weight > 0, weight, torch.ones_like(weight))[:, None], takes_part, weight
    )


def _log_likelihood(
    y_B: Tensor,
    annotated: Tensor,
    relatedness: Relatedness,
    related: Related,
    shares: Tensor,
    cells: Tensor | None,
    clip: float,
) -> Tensor:
    """Return log P(annotated labels | class), shape (N, C), up to what is the same for all classes."""
    present = annotated * (y_B == 1)
    if related.wholly_known and cells is None:
        return _product(
            annotated, present, cached_on_device(relatedness, evidence_view(clip), y_B.device, shares.dtype)
        )
    weights = shares[:, None] * (related.known if cells is None else related.known * cells)
    mean = (weights * related.R).sum(dim=0) / weights.sum(dim=0).clamp(min=torch.finfo(shares.dtype).tiny)  # (L,)
    if cells is not None:  # trust interpolates between a cell and its column's mean, which carries no evidence
        return _product(annotated, present, evidence_view(clip)(mean + cells * related.known * (related.R - mean)))
    score = _product(annotated, present, cached_on_device(relatedness, evidence_view(clip), y_B.device, shares.dtype))
    of_mean = evidence_view(clip)(mean[None])
    return score + (annotated * of_mean.log_not + present * of_mean.log_odds) @ (1 - related.known).t()


def _product(annotated: Tensor, present: Tensor, evidence: Evidence) -> Tensor:
    """Return annotated @ log(1 - R)^T + present @ (log R - log(1 - R))^T, shape (N, C)."""
    is_annotated = annotated.any(dim=1)
    if annotated.device.type != "cpu" or not bool((annotated.all(dim=1) == is_annotated).all()):
        return annotated @ evidence.log_not.t() + present @ evidence.log_odds.t()
    # Most inputs have all labels or none: the first product is then a sum of rows, and unlabelled inputs need neither.
    score = torch.zeros(len(annotated), len(evidence.log_none), dtype=annotated.dtype)
    score[is_annotated] = evidence.log_none + present[is_annotated] @ evidence.log_odds.t()
    return score
