"""Consistency with a teacher: two views of an input should get the same prediction."""

import torch
from torch import Tensor

from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.tasks import MISSING, Multiclass, Task


@in_full_precision
def consistency_loss(z: Tensor, z_teacher: Tensor, y: Tensor, task: Task) -> LossTerm:
    r"""Squared distance between a network's and its teacher's probabilities, where there is no label.

    .. math:: L_{con} = \frac{1}{\sum U} \sum_{U} \sum_s (p[s] - p_{teacher}[s])^2

    over the classes, or over the two states of each label. A. Tarvainen, H. Valpola, "Mean teachers are better role
    models: weight-averaged consistency targets improve semi-supervised deep learning results", NeurIPS 2017.

    Args:
        z: logits of a strong view, floating point, shape (N, C) or (N, L).
        z_teacher: the teacher's logits of a weak view, of the same shape; they get no gradient.
        y: labels, integer; -1 where not annotated.
        task: multiclass or multilabel.

    Returns:
        the sum over entries without a label, and their number.

    Example:
        >>> import torch
        >>> from mtlcore import Multilabel, consistency_loss
        >>> traits = Multilabel("traits", ("furry", "flies"))
        >>> z, teacher = torch.zeros(1, 2), torch.tensor([[0.0, 50.0]])
        >>> consistency_loss(z, teacher, torch.tensor([[-1, -1]]), traits).mean()  # 0 and 1/2, over two entries
        tensor(0.2500)
    """
    unlabelled, z_teacher = y == MISSING, z_teacher.detach()
    if isinstance(task, Multiclass):
        entries = (torch.softmax(z, dim=1) - torch.softmax(z_teacher, dim=1)).square().sum(dim=1)
    else:
        entries = 2 * (torch.sigmoid(z) - torch.sigmoid(z_teacher)).square()
    return LossTerm((entries * unlabelled).sum(), unlabelled.sum().to(z.dtype))
