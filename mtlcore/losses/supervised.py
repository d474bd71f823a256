"""Masked cross-entropy and binary cross-entropy: supervised losses over annotated entries alone."""

import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.tasks import MISSING, Multiclass, Task


@in_full_precision
def supervised_loss(z: Tensor, y: Tensor, task: Task) -> LossTerm:
    r"""Cross-entropy (multiclass) or binary cross-entropy (multilabel) of annotated entries.

    .. math:: L_t = \frac{\sum M_t \cdot \mathrm{loss}(z_t, y_t)}{\sum M_t}

    Args:
        z: logits, floating point, shape (N, C) or (N, L).
        y: labels, integer, shape (N,) with values in [-1, C), or (N, L) with values in {-1, 0, 1}; -1 is not
            annotated.
        task: which of the two it is.

    Returns:
        the sum over annotated entries and their number.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, supervised_loss
        >>> digit = Multiclass("digit", ("zero", "one"))
        >>> supervised_loss(torch.zeros(3, 2), torch.tensor([0, -1, 1]), digit).count
        tensor(2.)
    """
    annotated = y != MISSING
    if isinstance(task, Multiclass):
        total = F.cross_entropy(z, y.long(), ignore_index=MISSING, reduction="sum")
    else:
        # Masked after the loss, not selected before it: the shape stays the batch's, and the graph reaches every head.
        entries = F.binary_cross_entropy_with_logits(z, y.clamp(min=0).to(z.dtype), reduction="none")
        total = (entries * annotated).sum()
    return LossTerm(total, annotated.sum().to(z.dtype))
