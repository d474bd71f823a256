"""Implied-label likelihood (ILL): B's true labels score the prediction implied by A's. Beyond the paper."""

import torch
from torch import Tensor

from mtlcore.losses.implied import Implied
from mtlcore.losses.implied_prediction import implied_prediction
from mtlcore.losses.loss_term import LossTerm, in_full_precision, summed
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass


@in_full_precision
def implied_likelihood_loss(
    z_A: Tensor,
    y_B: Tensor,
    relatedness: Relatedness,
    *,
    trust: Tensor | None = None,
    implied: Implied | None = None,
) -> LossTerm:
    r"""Score q_B, which A's prediction implies, by B's labels, for inputs annotated for B.

    .. math:: L_{ILL} = \mathrm{loss}(q_B, y_B)

    with q_B of :func:`mtlcore.log_implied` (or, for a multilabel A, of
    :func:`mtlcore.log_implied_by_labels`) at tau = 1; binary cross-entropy, or -log q_B[y_B] for a
    multiclass B. Exact where R is, without a temperature: it teaches A from B's labels. An entry whose cells are
    partly unknown weighs as much as A's probability of the classes whose cells are known.

    Args:
        z_A: logits of A, floating point, shape (N, C).
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        relatedness: R of A to B.
        trust: of each row of R, shape (C,), or of each cell, (C, L), in [0, 1]; it weighs as in distribution matching.
            1 where not given.
        implied: :func:`mtlcore.losses.implied_prediction.implied_prediction` of the other arguments, where it is known.

    Returns:
        the sum over annotated entries and their number.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness, implied_likelihood_loss
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"cat": [], "crow": "flies"})
        >>> round(implied_likelihood_loss(torch.zeros(1, 2), torch.tensor([[1]]), R).mean().item(), 4)
        0.6931
    """
    implied = implied_prediction(z_A, relatedness, trust=trust) if implied is None else implied
    return implied_likelihood(y_B, implied, is_multiclass=isinstance(relatedness.target, Multiclass))


def implied_likelihood(y_B: Tensor, implied: Implied, *, is_multiclass: bool) -> LossTerm:
    """Return the loss of what A implies; where the arguments have pairs in front, sums and counts of shape (pairs,)."""
    annotated = y_B != MISSING
    stacked = implied.log_q.dim() == 3
    if is_multiclass:
        log_q = implied.log_q.gather(-1, y_B.clamp(min=0).long()[..., None])[..., 0]
        known = implied.known[..., 0]
    else:
        log_q = torch.where(y_B == 1, implied.log_q, implied.log_not_q)
        known = implied.known
    return LossTerm(-summed(log_q * known * annotated, stacked), summed(annotated, stacked).to(log_q.dtype))
