"""The supervised loss of every kind of task, over annotated entries alone."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.class_losses import class_loss, label_loss
from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.losses.ordinal import ordinal_loss
from mtlcore.losses.regression import regression_loss
from mtlcore.tasks import MISSING, Multiclass, Multilabel, Task


def supervised_loss(z: Tensor, y: Tensor, task: Task) -> LossTerm:
    r"""Loss of annotated entries: cross-entropy (multiclass) or binary cross-entropy (multilabel); for a task's own
    ``loss`` and other kinds see :func:`mtlcore.class_loss`, :func:`mtlcore.label_loss`, :func:`mtlcore.regression_loss`
    and :func:`mtlcore.ordinal_loss`.

    .. math:: L_t = \frac{\sum M_t \cdot \mathrm{loss}(z_t, y_t)}{\sum M_t}

    Args:
        z: what the task's head puts out, floating point, shape (N, C) or (N, L).
        y: labels, integer, shape (N,) with values in [-1, C), or (N, L) with values in {-1, 0, 1}; -1 is not
            annotated.
        task: of which kind it is.

    Returns:
        the sum over annotated entries and their number.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, supervised_loss
        >>> digit = Multiclass("digit", ("zero", "one"))
        >>> supervised_loss(torch.zeros(3, 2), torch.tensor([0, -1, 1]), digit).count
        tensor(2.)
    """
    return _BY_KIND[task.kind](z, y, task)


@in_full_precision
def _of_classes(z: Tensor, y: Tensor, task: Multiclass) -> LossTerm:
    total = F.cross_entropy(z, y.long(), ignore_index=MISSING, reduction="sum")
    return LossTerm(total, (y != MISSING).sum().to(z.dtype))


@in_full_precision
def _of_labels(z: Tensor, y: Tensor, task: Multilabel) -> LossTerm:
    annotated = y != MISSING
    # Masked after the loss, not selected before it: the shape stays the batch's, and the graph reaches every head.
    entries = F.binary_cross_entropy_with_logits(z, y.clamp(min=0).to(z.dtype), reduction="none")
    return LossTerm((entries * annotated).sum(), annotated.sum().to(z.dtype))


_BY_KIND: dict[str, Callable[[Tensor, Tensor, Any], LossTerm]] = {
    "multiclass": lambda z, y, task: (_of_classes if task.loss is None else class_loss)(z, y, task),
    "multilabel": lambda z, y, task: (_of_labels if task.loss is None else label_loss)(z, y, task),
    "ordinal": ordinal_loss,
    "regression": regression_loss,
}
