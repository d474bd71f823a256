"""Distribution matching (DM): B's own prediction should agree with the one implied by A's, on every input."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.co_annotation import LabelForm
from mtlcore.losses.implied import Implied
from mtlcore.losses.implied_prediction import implied_prediction
from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.relatedness.device_cache import annotation_view, cached_on_device
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass

Direction = Literal["own_is_target", "implied_is_target", "symmetric"]


@in_full_precision
def distribution_matching_loss(
    z_A: Tensor,
    z_B: Tensor,
    relatedness: Relatedness,
    *,
    tau: float = 1.0,
    direction: Direction = "own_is_target",
    stop_gradient: bool = False,
    form: LabelForm = "full",
    trust: Tensor | None = None,
    implied: Implied | None = None,
) -> LossTerm:
    r"""Cross-entropy between B's prediction and the one implied by A, summed over labels, on all inputs.

    .. math:: L_{DM} = -\sum_l p_B[l] \log q_B[l] + (1 - p_B[l]) \log (1 - q_B[l])

    with p_B = sigmoid(z_B / tau), q_B of :func:`mtlcore.log_implied`, or for a multilabel A of
    :func:`mtlcore.log_implied_by_labels`; for a multiclass B softmax and the
    first sum alone. Kollias, Sharmanska, Zafeiriou, "Distribution Matching for Multi-Task Learning of
    Classification Tasks", AAAI 2024 (arXiv 2401.01219).

    Args:
        z_A: logits of A, floating point, shape (N, C).
        z_B: logits of B, floating point, shape (N, L).
        relatedness: R of A to B. As far as A's probability lies on classes whose cell is unknown, B's own
            prediction (held constant) is taken for the implied one, and the entry weighs as much as the rest.
        tau: matching temperature, > 0.
        direction: which of the two is the target: B's own prediction (the paper's), the implied one, or both in
            turn, added.
        stop_gradient: whether the target is held constant (the paper lets the gradient through).
        form: for a multilabel B, ``full``, both terms of the cross-entropy between Bernoullis, or ``positive``, the
            paper's first term alone, of which a q_B that is 1 everywhere is a minimum.
        trust: of each row of R, shape (C,), or of each cell, (C, L), in [0, 1]; an input's part weighs as much as A's
            probability of trusted classes. 1 where it is not given.
        implied: :func:`mtlcore.losses.implied_prediction.implied_prediction` of the other arguments, where it is known.

    Returns:
        the sum over inputs and their number N: the loss is its average over inputs.

    Raises:
        ValueError: ``tau`` is not positive, ``direction`` is none of the three, or ``form`` neither of the two.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness, distribution_matching_loss
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"cat": [], "crow": ["flies"]})
        >>> sure_crow, flies = torch.tensor([[-9.0, 9.0]]), torch.tensor([[9.0]])
        >>> agree = distribution_matching_loss(sure_crow, flies, R).mean()
        >>> bool(agree < distribution_matching_loss(sure_crow, -flies, R).mean())
        True
    """
    if not tau > 0:
        raise ValueError(f"tau: found {tau}; expected a positive matching temperature")
    if direction not in get_args(Direction):
        raise ValueError(f"direction: found {direction!r}; expected one of {get_args(Direction)}")
    if form not in get_args(LabelForm):
        raise ValueError(f"form: found {form!r}; expected one of {get_args(LabelForm)}")
    implied = implied_prediction(z_A, relatedness, tau, trust) if implied is None else implied
    if isinstance(relatedness.target, Multiclass):
        log_own = [torch.log_softmax(z_B / tau, dim=1)]
        log_q = [implied.log_q]
        known = implied.known[:, :1]  # a row is known or unknown as a whole
    else:
        log_own = [F.logsigmoid(z_B / tau), F.logsigmoid(-z_B / tau)][: 1 if form == "positive" else 2]
        log_q = [implied.log_q, implied.log_not_q][: len(log_own)]
        known = implied.known
    if trust is not None or not cached_on_device(relatedness, annotation_view, z_A.device, z_A.dtype).wholly_known:
        # Matching is silent on unknown cells: there B's own prediction replaces the implied one.
        log_q = [
            torch.where(
                implied.log_unknown.isneginf(),
                part,
                # Constant: B's own prediction as its own target would only make itself sharper.
                torch.logaddexp(part + implied.log_known, own_log_p.detach() + implied.log_unknown),
            )
            for part, own_log_p in zip(log_q, log_own, strict=True)
        ]

    def cross_entropy(log_target: list[Tensor], log_scored: list[Tensor]) -> Tensor:
        targets = [part.exp() for part in log_target]
        if stop_gradient:
            targets = [part.detach() for part in targets]
        return -sum((t * s for t, s in zip(targets, log_scored, strict=True)), torch.zeros_like(log_scored[0]))

    entries = torch.zeros_like(log_q[0])
    if direction in ("own_is_target", "symmetric"):
        entries = entries + cross_entropy(log_own, log_q)
    if direction in ("implied_is_target", "symmetric"):
        entries = entries + cross_entropy(log_q, log_own)
    # Divided by all inputs, also those on which little is known: less knowledge is a smaller loss, not a noisier one.
    return LossTerm((entries * known).sum(), torch.full((), len(z_A), device=z_A.device, dtype=z_A.dtype))
