"""Losses of classes and labels: weighted, smoothed, focal and asymmetric cross-entropy over annotated entries."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.tasks import MISSING, ClassLoss, Multiclass, Multilabel


@in_full_precision
def class_loss(z: Tensor, y: Tensor, task: Multiclass) -> LossTerm:
    r"""Cross-entropy of annotated inputs, as the task's ``loss`` has it.

    .. math:: \ell_i = -w_{y_i} \sum_c t_{ic} (1 - p_{ic})^\gamma \log p_{ic},
              \qquad L = \frac{\sum_i \ell_i}{\sum_i w_{y_i}}

    with :math:`t_{ic} = (1 - \epsilon) [c = y_i] + \epsilon / C` under label smoothing (C. Szegedy et al., CVPR 2016),
    gamma = 0 but for the focal loss (T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017), and w = 1
    without class weights. Divided by the sum of weights, as
    :class:`torch.nn.CrossEntropyLoss` is, over the GLOBAL batch.

    Args:
        z: logits, floating point, shape (N, C).
        y: classes, integer, shape (N,), in [-1, C); -1 is not annotated.
        task: the task.

    Returns:
        the weighted sum over annotated inputs and the sum of their weights.

    Example:
        >>> from mtlcore import ClassLoss
        >>> task = Multiclass("kind", ("rare", "common"), loss=ClassLoss(class_weights=(3.0, 1.0)))
        >>> class_loss(torch.zeros(3, 2), torch.tensor([0, 1, -1]), task).count
        tensor(4.)
    """
    settings = task.loss or ClassLoss()
    annotated, known = y != MISSING, y.clamp(min=0).long()
    log_p = F.log_softmax(z, dim=1)
    entries = -log_p
    if settings.kind == "focal":
        entries = entries * (1 - log_p.exp()).clamp(min=torch.finfo(z.dtype).tiny) ** settings.gamma
    losses = entries.gather(1, known[:, None]).squeeze(1)
    if settings.smoothing:
        losses = (1 - settings.smoothing) * losses + settings.smoothing * entries.mean(dim=1)
    weights = annotated.to(z.dtype)
    if settings.class_weights:
        weights = weights * torch.tensor(settings.class_weights, dtype=z.dtype, device=z.device)[known]
    return LossTerm((losses * weights).sum(), weights.sum())


@in_full_precision
def label_loss(z: Tensor, y: Tensor, task: Multilabel) -> LossTerm:
    r"""Binary cross-entropy of annotated entries, as the task's ``loss`` has it.

    .. math:: \ell = -w_l \, t (1 - p)^{\gamma_+} \log p - (1 - t) \, p_m^{\gamma_-} \log (1 - p_m),
              \qquad p_m = \max(p - m, 0)

    with :math:`t = (1 - \epsilon) y + \epsilon / 2` under label smoothing and ``positive_weights`` w. The focal loss
    has :math:`\gamma_+ = \gamma_- = \gamma` and m = 0; the asymmetric one (T. Ridnik et al., "Asymmetric loss for
    multi-label classification", ICCV 2021) all three; plain cross-entropy none.

    Args:
        z: logits, floating point, shape (N, L).
        y: labels, integer, shape (N, L), in {-1, 0, 1}; -1 is not annotated.
        task: the task.

    Returns:
        the sum over annotated entries and their number.

    Example:
        >>> from mtlcore import ClassLoss
        >>> plain = Multilabel("traits", ("furry",))
        >>> weighed = Multilabel("traits", ("furry",), loss=ClassLoss(positive_weights=(3.0,)))
        >>> z, y = torch.zeros(2, 1), torch.tensor([[1], [-1]])
        >>> round(float(label_loss(z, y, weighed).mean() / label_loss(z, y, plain).mean()), 3)
        3.0
    """
    settings = task.loss or ClassLoss()
    annotated = y != MISSING
    t = y.clamp(min=0).to(z.dtype)
    if settings.smoothing:
        t = (1 - settings.smoothing) * t + settings.smoothing / 2
    positive, negative = -F.logsigmoid(z), -F.logsigmoid(-z)  # -log p, -log (1 - p)
    of_holding, of_not = positive, negative
    if settings.kind == "focal":
        of_holding = of_holding * (-settings.gamma * negative).exp()
        of_not = of_not * (-settings.gamma * positive).exp()
    elif settings.kind == "asymmetric":
        shifted = (torch.sigmoid(z) - settings.margin).clamp(min=torch.finfo(z.dtype).tiny)
        of_holding = of_holding * (-settings.gamma_positive * negative).exp()
        of_not = -torch.log1p(-shifted) if settings.margin else negative
        of_not = of_not * shifted**settings.gamma
    if settings.positive_weights:
        of_holding = of_holding * torch.tensor(settings.positive_weights, dtype=z.dtype, device=z.device)
    entries = t * of_holding + (1 - t) * of_not
    return LossTerm((entries * annotated).sum(), annotated.sum().to(z.dtype))
