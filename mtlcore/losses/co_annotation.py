"""Soft co-annotation (SCA): the labels of one task become soft labels for the other."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.co_annotated_classes import SourceForm, co_annotated_classes
from mtlcore.losses.co_annotation_multilabel import co_annotation_from_labels, co_annotation_to_source_labels
from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.losses.trust_of_cells import split_trust
from mtlcore.relatedness.device_cache import cached_on_device, identity_view
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass, Multilabel

LabelForm = Literal["positive", "full"]


@in_full_precision
def co_annotation_to_classes(
    z_A: Tensor,
    y_B: Tensor,
    relatedness: Relatedness,
    *,
    tau_co: float = 1.0,
    form: SourceForm = "bayes",
    clip: float = 0.05,
    prior: Tensor | None = None,
    trust: Tensor | None = None,
) -> LossTerm:
    r"""Soft co-annotation from B to A: cross-entropy of A's prediction with the classes that B's labels suggest.

    .. math:: L_{SCA} = -\sum_c q_A[c] \log \mathrm{softmax}(z_A)[c]

    averaged over the inputs annotated with B; q_A of :func:`co_annotated_classes`. Where a class takes no part, A's
    prediction is taken among the others; where it is trusted in part, with its odds lowered by that factor. For a
    multilabel A see :func:`mtlcore.co_annotation_to_source_labels`.

    Args:
        z_A: logits of A, floating point, shape (N, C).
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        relatedness: R of A to B.
        tau_co: co-annotation temperature, > 0. For ``bayes`` 1 is the posterior itself. For ``paper`` try well under
            1 first: at 1 the scores, which lie in [0, 1], make an almost uniform target.
        form: ``bayes``, the posterior, or ``paper``, the score of the labels that hold. It takes no part for a
            multilabel A, whose labels do not exclude each other.
        clip: how near to 0 and to 1 a cell may come under ``bayes``, in [0, 0.5).
        prior: A's class prior, shape (C,); uniform where it is not given.
        trust: of each row of R, shape (C,), or of each cell, (C, L), in [0, 1]; 1 where it is not given.

    Returns:
        the sum over inputs annotated with B, each weighed by the trusted share of what its labels suggest, and their
        number, which trust does not change: less trust is a smaller loss.

    Raises:
        ValueError: ``tau_co`` is not positive, ``form`` is neither of the two, or ``clip`` is out of range.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness, co_annotation_to_classes
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("furry", "flies"))
        >>> R = Relatedness.from_rows(A, B, {"cat": "furry", "crow": "flies"})
        >>> flying, not_annotated = [0, 1], [-1, -1]
        >>> co_annotation_to_classes(torch.zeros(2, 2), torch.tensor([flying, not_annotated]), R, tau_co=0.1).count
        tensor(1.)
    """
    if isinstance(relatedness.source, Multilabel):
        return co_annotation_to_source_labels(z_A, y_B, relatedness, prior=prior, trust=trust)
    suggested = co_annotated_classes(y_B, relatedness, tau_co, prior, trust, z_A.dtype, form=form, clip=clip)
    # Before trust is looked at: the count must come of labels alone, and doubt must shrink the loss.
    counts = suggested.takes_part.any(dim=1).sum().to(z_A.dtype)
    odds, takes_part = z_A, suggested.takes_part
    if trust is not None:
        rows = split_trust(trust.to(z_A), relatedness).rows
        odds, takes_part = z_A + rows.log(), takes_part & (rows > 0)
    says_something = takes_part.any(dim=1, keepdim=True)
    # Among the classes that take part; an input that says nothing keeps all of them, with a target of 0.
    among = torch.where(says_something, odds.masked_fill(~takes_part, -torch.inf), z_A)
    log_p = torch.log_softmax(among, dim=1)
    target = (suggested.q_A * suggested.weight[:, None]).to(z_A)
    return LossTerm(-torch.where(takes_part, target * log_p, torch.zeros_like(log_p)).sum(), counts)


@in_full_precision
def co_annotation_to_labels(
    z_B: Tensor, y_A: Tensor, relatedness: Relatedness, *, form: LabelForm = "positive", trust: Tensor | None = None
) -> LossTerm:
    r"""Soft co-annotation from A to B: the row R[c, :] of an input's class c is B's soft target.

    For a multilabel B, over known cells:

    - ``positive``, the paper's: each related label is taken to hold, weighed by R,
      :math:`-\sum_l R[c,l] \log p_B[l]`, divided by the sum of the weights;
    - ``full``: binary cross-entropy with R[c, l] as the target, so that what a class rules out is taught too,
      divided by the number of entries. With a table of zeros and ones this is the supervised loss.

    For a multiclass B, either form is the cross-entropy with the row, averaged over inputs. Kollias et al.,
    AAAI 2024 (arXiv 2401.01219). For a multilabel A see :func:`mtlcore.co_annotation_from_labels`.

    Args:
        z_B: logits of B, floating point, shape (N, L).
        y_A: labels of A, integer, shape (N,), -1 where not annotated.
        relatedness: R of A to B.
        form: ``positive`` or ``full``.
        trust: of each row of R, shape (C,), or of each cell, (C, L), in [0, 1], a further weight of the sum; 1 where it
            is not given.

    Returns:
        the weighted sum and the sum of the weights, which trust does not change: less trust is a smaller loss.

    Raises:
        ValueError: ``form`` is neither of the two.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness, co_annotation_to_labels
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("furry", "flies"))
        >>> R = Relatedness.from_rows(A, B, {"cat": "furry", "crow": "flies"})
        >>> round(co_annotation_to_labels(torch.zeros(1, 2), torch.tensor([0]), R, form="full").mean().item(), 4)
        0.6931
    """
    if form not in get_args(LabelForm):
        raise ValueError(f"form: found {form!r}; expected one of {get_args(LabelForm)}")
    if isinstance(relatedness.source, Multilabel):
        return co_annotation_from_labels(z_B, y_A, relatedness, form=form, trust=trust)
    # A row of the table for every input, the first for those that are not annotated, which are masked below.
    rows = cached_on_device(relatedness, identity_view, z_B.device, z_B.dtype)[y_A.clamp(min=0)]  # (N, L)
    takes_part = ~torch.isnan(rows) & (y_A != MISSING)[:, None]
    target = torch.where(takes_part, rows, torch.zeros_like(rows))
    weight = torch.ones_like(rows[:, :1]) if trust is None else _by_cell(trust, relatedness, z_B)[y_A.clamp(min=0)]
    if isinstance(relatedness.target, Multiclass):
        total = -(weight * target * torch.log_softmax(z_B, dim=1)).sum()
        return LossTerm(total, takes_part[:, 0].sum().to(z_B.dtype))
    if form == "positive":
        return LossTerm(-(weight * target * F.logsigmoid(z_B)).sum(), target.sum())
    entries = F.binary_cross_entropy_with_logits(z_B, target, reduction="none")
    return LossTerm((weight * entries * takes_part).sum(), takes_part.sum().to(z_B.dtype))


def _by_cell(trust: Tensor, relatedness: Relatedness, like: Tensor) -> Tensor:
    """Return trust that multiplies cells, shape (C, L) or (C, 1)."""
    rows, cells = split_trust(trust.to(like), relatedness)
    return rows[:, None] if cells is None else rows[:, None] * cells
