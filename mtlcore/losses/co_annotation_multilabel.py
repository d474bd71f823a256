"""Soft co-annotation (SCA) where task A is multilabel, in both directions."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.implied_multilabel import pooled
from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.losses.trust_of_cells import split_trust
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass


def suggested_labels(
    y_B: Tensor, relatedness: Relatedness, prior: Tensor | None = None, trust: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return the share s with which each label of a multilabel A is taken to hold, given B's labels.

    For a multilabel B, with both sums over annotated labels and known cells,

    .. math:: s[k] = \frac{\sum_l R[k,l] \, y_B[l]}{\sum_l R[k,l]}

    (the score of Kollias et al., AAAI 2024, read as a probability). A label that none of the annotated labels is
    related to takes no part. For a multiclass B, Bayes' rule with both priors,

    .. math:: s[k] = \min\left(1, \frac{R[k, y_B] \, P(k)}{b[y_B]}\right)

    Args:
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        relatedness: R of a multilabel A to B; its ``base`` is B's class prior b, uniform where not given.
        prior: P(k), shape (K,), in [0, 1], for a multiclass B; 1/2 where not given.
        trust: how far each row is trusted, shape (K,), in [0, 1], or each cell, (K, L): a row counts as its least cell.

    Returns:
        s, float64, and the weight of each entry (0 where nothing is said), float64, both of shape (N, K).

    Example:
        >>> import torch
        >>> from mtlcore import Multilabel, Relatedness, suggested_labels
        >>> A, B = Multilabel("parts", ("wings", "fins")), Multilabel("moves", ("flies", "glides", "swims"))
        >>> R = Relatedness.from_rows(A, B, {"wings": ["flies", "glides"], "fins": "swims"})
        >>> suggested_labels(torch.tensor([[1, 0, -1]]), R)[0]
        tensor([[0.5000, 0.0000]], dtype=torch.float64)
    """
    table = relatedness.table.to(y_B.device)
    R, weight = table.nan_to_num(0.0), _row_trust(trust, relatedness).to(table)
    if isinstance(relatedness.target, Multiclass):
        annotated = (y_B != MISSING)[:, None]
        classes = y_B.clamp(min=0).long()
        known_rows = ~table[:, 0].isnan()  # a row is known or unknown as a whole
        b = torch.full_like(R[0], 1 / R.shape[1]) if relatedness.base is None else relatedness.base.to(R)
        P = torch.full_like(R[:, 0], 0.5) if prior is None else prior.to(R)
        joint, of_class = (R * P[:, None])[:, classes].t(), b[classes][:, None]
        s = torch.where(of_class > 0, joint / of_class, (joint > 0).to(R)).clamp(max=1.0)
        return s, (annotated & known_rows & (weight > 0)) * weight
    annotated = (y_B != MISSING).to(R.dtype)
    related = annotated @ R.t()
    # Over annotated labels alone: one that is missing must not count as one that does not hold.
    s = (annotated * y_B) @ R.t() / torch.where(related > 0, related, torch.ones_like(related))
    return s.clamp(max=1.0), (related > 0) * weight


@in_full_precision
def co_annotation_to_source_labels(
    z_A: Tensor,
    y_B: Tensor,
    relatedness: Relatedness,
    *,
    prior: Tensor | None = None,
    trust: Tensor | None = None,
) -> LossTerm:
    r"""Soft co-annotation from B to a multilabel A: binary cross-entropy of A with :func:`suggested_labels`.

    Args:
        z_A: logits of A, floating point, shape (N, K).
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        relatedness: R of a multilabel A to B.
        prior: P(k), shape (K,), for a multiclass B; 1/2 where not given.
        trust: how far each row is trusted, shape (K,), or each cell, (K, L), of which the least counts: weighs its
            label's part; 0 leaves it out.

    Returns:
        the weighed sum over labels of which B says something, and their number.

    Example:
        >>> import torch
        >>> from mtlcore import Multilabel, Relatedness, co_annotation_to_source_labels
        >>> A, B = Multilabel("parts", ("wings", "fins")), Multilabel("moves", ("flies", "swims"))
        >>> R = Relatedness.from_rows(A, B, {"wings": "flies", "fins": "swims"})
        >>> co_annotation_to_source_labels(torch.zeros(1, 2), torch.tensor([[1, -1]]), R).count
        tensor(1.)
    """
    s, weight = suggested_labels(y_B, relatedness, prior, trust)
    entries = F.binary_cross_entropy_with_logits(z_A, s.to(z_A), reduction="none")
    return LossTerm((entries * weight.to(z_A)).sum(), (weight > 0).sum().to(z_A.dtype))


@in_full_precision
def co_annotation_from_labels(
    z_B: Tensor,
    y_A: Tensor,
    relatedness: Relatedness,
    *,
    form: Literal["positive", "full"] = "positive",
    trust: Tensor | None = None,
) -> LossTerm:
    r"""Soft co-annotation from a multilabel A to B: what A's annotated labels imply is B's soft target.

    The target is q_B of :func:`mtlcore.log_implied_by_labels` with A's annotations in the place of its prediction.

    - Multilabel B, ``positive``: :math:`-\sum_l q_B[l] \log p_B[l]` over annotated labels and known cells (what is
      missing can only add causes), divided by the sum of the weights q_B.
    - Multilabel B, ``full``: binary cross-entropy with q_B, over the entries that are settled: no label of A that
      is missing, and none that holds with an unknown cell, could bring the label about; or it is certain already.
      Divided by their number.
    - Multiclass B: cross-entropy with q_B, over inputs of which some label that holds has a known row.

    An input with no annotated label of A takes no part.

    Args:
        z_B: logits of B, floating point, shape (N, L).
        y_A: labels of A, integer, shape (N, K), -1 where not annotated.
        relatedness: R of a multilabel A to B.
        form: ``positive`` or ``full``; for a multilabel B.
        trust: how far each row is trusted, shape (K,), or each cell, (K, L), of which the least counts: an input
            weighs as the product over its labels that hold.

    Returns:
        the weighed sum and its count.

    Example:
        >>> import torch
        >>> from mtlcore import Multilabel, Relatedness, co_annotation_from_labels
        >>> A, B = Multilabel("parts", ("wings", "fins")), Multilabel("moves", ("flies", "swims"))
        >>> R = Relatedness.from_rows(A, B, {"wings": {"flies": 0.8}, "fins": "swims"})
        >>> co_annotation_from_labels(torch.zeros(1, 2), torch.tensor([[1, 0]]), R).count  # the weight of flies
        tensor(0.8000)
    """
    table = relatedness.table.to(y_A.device)
    trusted = _row_trust(trust, relatedness).to(table)
    is_known = ~table.isnan() & (trusted > 0)[:, None]
    R = torch.where(is_known, table, torch.zeros_like(table))
    holds, missing = (y_A == 1).to(R.dtype), (y_A == MISSING).to(R.dtype)
    annotated = (y_A != MISSING).any(dim=1)
    weight = torch.where(holds > 0, trusted.where(trusted > 0, torch.ones_like(trusted)), 1.0).prod(dim=1)[:, None]
    if isinstance(relatedness.target, Multiclass):
        base = relatedness.base
        b = torch.full_like(R[0], 1 / R.shape[1]) if base is None else base.to(R)
        q = pooled(holds, R, is_known, b).exp()
        says_something = ((holds @ is_known[:, :1].to(R.dtype)) > 0)[:, 0]
        weight = weight * says_something[:, None]
        total = -(q.to(z_B) * torch.log_softmax(z_B, dim=1) * weight.to(z_B)).sum()
        return LossTerm(total, says_something.sum().to(z_B.dtype))
    leak = torch.zeros_like(R[0]) if relatedness.base is None else relatedness.base.to(R)
    sure = (holds @ (R == 1).to(R.dtype) > 0) | (leak == 1)
    # In logarithms, where a product over many causes does not underflow; sure causes, of log 0, are kept apart.
    log_none = holds @ torch.where(R < 1, torch.log1p(-R.clamp(max=1 - 1e-16)), torch.zeros_like(R))
    log_none = log_none + torch.where(leak < 1, torch.log1p(-leak), torch.zeros_like(leak))
    q = torch.where(sure, torch.ones_like(log_none), -torch.expm1(log_none)) * annotated[:, None]
    of_interest = is_known.any(dim=0)
    if form == "positive":
        q = torch.where(of_interest, q, torch.zeros_like(q)).to(z_B)
        return LossTerm(-(q * F.logsigmoid(z_B) * weight.to(z_B)).sum(), q.sum())
    could_add = missing @ (~is_known | (R > 0)).to(R.dtype) + holds @ (~is_known).to(R.dtype) > 0
    takes_part = (sure | ~could_add) & annotated[:, None] & of_interest
    entries = F.binary_cross_entropy_with_logits(z_B, q.to(z_B), reduction="none")
    return LossTerm((entries * (takes_part * weight).to(z_B)).sum(), takes_part.sum().to(z_B.dtype))


def _row_trust(trust: Tensor | None, relatedness: Relatedness) -> Tensor:
    """Return the trust of each row, float64, shape (K,): 1 where none is given."""
    if trust is None:
        return torch.ones(len(relatedness.table), dtype=torch.float64)
    return split_trust(trust, relatedness).rows.double()
