"""What a related task's labels say of an input's classes or labels: the evidence that pseudo-labels have to bear."""

import torch
from torch import Tensor

from mtlcore.relatedness.device_cache import annotation_view, cached_on_device
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass, Multilabel

_CLIP = 0.05  # how often a label may be wrong, as in co-annotation


def evidence_for_source(y_B: Tensor, relatedness: Relatedness, trust: Tensor | None = None) -> Tensor | None:
    r"""Compute what B's labels say for each class of A, as log likelihoods.

    .. math:: e[c] = \sum_l y_B[l] \log R[c, l] + (1 - y_B[l]) \log(1 - R[c, l]), \qquad
              e[c] = \log R[c, y_B]

    over annotated labels, or of a multiclass B's class, R clipped to [0.05, 0.95]. Trust t moves a cell to the mean m
    of its column, weighed by trust, by which the label says nothing of that class: R = m + t (R - m). A cell that is
    unknown has trust 0.

    Args:
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        relatedness: R of A to B.
        trust: of each row of R, shape (C,), or of each cell, (C, L), in [0, 1]; 1 where it is not given.

    Returns:
        float32, shape (N, C); 0 for an input that is not annotated for B. None for a multilabel A.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"cat": [], "crow": "flies"})
        >>> evidence_for_source(torch.tensor([[1], [-1]]), R).exp()
        tensor([[0.0500, 0.9500],
                [1.0000, 1.0000]])
    """
    if isinstance(relatedness.source, Multilabel):
        return None
    R, t = _table_and_trust(relatedness, trust, y_B.device)
    mean = (t * R).sum(dim=0) / t.sum(dim=0).clamp(min=1e-12)
    R = (mean + t * (R - mean)).clamp(_CLIP, 1 - _CLIP)
    if isinstance(relatedness.target, Multiclass):
        return R.log()[:, y_B.clamp(min=0)].t() * (y_B != MISSING)[:, None]
    holds, holds_not = (y_B == 1).to(R), (y_B == 0).to(R)
    return holds @ R.log().t() + holds_not @ torch.log1p(-R).t()


def evidence_for_target(
    y_A: Tensor, relatedness: Relatedness, trust: Tensor | None = None, prior_B: Tensor | None = None
) -> Tensor | None:
    r"""Compute what A's labels say of B: log odds of B's labels, or log likelihoods of B's classes.

    .. math:: e[l] = \log \frac{R[c, l]}{1 - R[c, l]} - \log \frac{\pi_B[l]}{1 - \pi_B[l]}, \qquad
              e[k] = \log R[c, k] - \log \pi_B[k]

    of an input annotated as c, R clipped to [0.05, 0.95] and weighed by trust; without a prior the first part alone.
    Of a multilabel A the labels that hold bring B's about by noisy-OR; for a multiclass B they say nothing here.

    Args:
        y_A: labels of A, integer, shape (N,) or (N, K), -1 where not annotated.
        relatedness: R of A to B.
        trust: of each row of R, shape (C,), or of each cell, (C, L), in [0, 1]; 1 where it is not given.
        prior_B: how often each label or class of B holds, shape (L,), in (0, 1).

    Returns:
        float32, shape (N, L); 0 for an input that is not annotated for A, and where the cell is unknown. None where
        nothing is said.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"cat": None, "crow": "flies"})
        >>> evidence_for_target(torch.tensor([1, 0, -1]), R).sigmoid()[:, 0]
        tensor([0.9500, 0.5000, 0.5000])
    """
    R, t = _table_and_trust(relatedness, trust, y_A.device)
    several = isinstance(relatedness.target, Multilabel)
    if isinstance(relatedness.source, Multilabel):
        return _by_labels(y_A, R, t, prior_B, relatedness.base) if several else None
    R = R.clamp(_CLIP, 1 - _CLIP)
    said = torch.logit(R) if several else R.log()
    if prior_B is not None:
        prior = prior_B.to(R)
        said = said - (torch.logit(prior) if several else prior.log())
    if not several:  # 0 is no evidence only beside other classes' zeros: a row is known as a whole
        t = t.amin(dim=1, keepdim=True)
    return (said * t)[y_A.clamp(min=0)] * (y_A != MISSING)[:, None]


def _by_labels(y_A: Tensor, R: Tensor, t: Tensor, prior_B: Tensor | None, base: Tensor | None) -> Tensor:
    """Return the log odds of B's labels by noisy-OR of A's, where all of A's are annotated and no cause is unknown."""
    holds = (y_A == 1).to(R)
    known = (holds @ (t < 1).to(R) == 0) & (y_A != MISSING).all(dim=1)[:, None]
    log_none = holds @ torch.log1p(-R.clamp(max=1 - _CLIP))
    if base is not None:
        log_none = log_none + torch.log1p(-base.to(R).clamp(max=1 - _CLIP))
    said = torch.logit((-torch.expm1(log_none)).clamp(_CLIP, 1 - _CLIP))
    return (said if prior_B is None else said - torch.logit(prior_B.to(R))) * known


def _table_and_trust(relatedness: Relatedness, trust: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return R, 0 where unknown, and the trust of each cell, 0 where unknown, both float32 of shape (C, L)."""
    related = cached_on_device(relatedness, annotation_view, device, torch.float32)
    if trust is None:
        return related.R, related.known
    return related.R, related.known * (trust if trust.dim() == 2 else trust[:, None]).to(related.R)
