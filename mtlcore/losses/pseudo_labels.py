"""Pseudo-labels: what a network is sure of on a weak view of an input is a label for a strong view of it."""

import torch
from torch import Tensor

from mtlcore.losses.loss_term import LossTerm, in_full_precision
from mtlcore.losses.supervised import supervised_loss
from mtlcore.tasks import MISSING, Multiclass, Task


@torch.no_grad()
@in_full_precision
def pseudo_labels(
    z: Tensor,
    y: Tensor,
    task: Task,
    threshold: float | Tensor = 0.95,
    *,
    evidence: Tensor | None = None,
    least_agreement: float | None = None,
) -> Tensor:
    r"""Label the entries that nobody has labelled and of which the network is sure.

    .. math:: \hat y = \arg\max_c p[c] \quad \text{where} \quad \max_c p[c] \ge \tau[\hat y]

    K. Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS 2020. A
    label of a multilabel task is one of its two states, with a probability of 1/2 at least.

    Args:
        z: logits of a weak view, floating point, shape (N, C) or (N, L).
        y: the labels that there are, integer, shape (N,) or (N, L); -1 where not annotated.
        task: which of the two it is.
        threshold: tau, one for all, or by state: shape (C,), or (L, 2) of not holding and holding.
        evidence: what other tasks' labels say, log likelihoods of the classes, shape (N, C), or log odds of the
            labels, (N, L); 0 where they say nothing.
        least_agreement: None: the evidence is joined with the prediction, as by Bayes' rule, before the threshold. A
            number: the prediction stays as it is, and a pseudo-label goes that the evidence makes less likely than
            this part of the likeliest.

    Returns:
        labels of ``y``'s shape, -1 where an entry has its own, or the network is not sure, or the evidence is against.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, pseudo_labels
        >>> animal = Multiclass("animal", ("cat", "crow"))
        >>> pseudo_labels(torch.tensor([[9.0, 0.0], [0.1, 0.0], [0.0, 9.0]]), torch.tensor([-1, -1, 0]), animal)
        tensor([ 0, -1, -1])
    """
    joined = z if evidence is None or least_agreement is not None else z + evidence
    if isinstance(task, Multiclass):
        p, state = torch.softmax(joined, dim=1).max(dim=1)
        least = threshold if isinstance(threshold, float) else threshold.to(p)[state]
    else:
        p, state = torch.sigmoid(joined.abs()), (joined > 0).long()
        least = threshold
        if isinstance(threshold, Tensor):
            by_state = threshold.to(p)
            least = torch.where(state == 1, by_state[:, 1], by_state[:, 0])
    sure = p >= least
    if evidence is not None and least_agreement is not None:
        if isinstance(task, Multiclass):
            relative = evidence.gather(1, state[:, None])[:, 0] - evidence.amax(dim=1)
        else:
            relative = torch.where(state == 1, evidence, -evidence).clamp(max=0.0)
        sure = sure & (relative.exp() >= least_agreement)
    return torch.where(sure & (y == MISSING), state, MISSING)


def pseudo_label_loss(z_strong: Tensor, pseudo: Tensor, y: Tensor, task: Task) -> LossTerm:
    r"""Score a strong view by pseudo-labels: cross-entropy, or binary cross-entropy.

    .. math:: L_u = \frac{1}{\sum U} \sum U \, [\hat y \ne -1] \, \mathrm{loss}(z, \hat y), \qquad U = [y = -1]

    (Sohn et al., NeurIPS 2020, equation 4.) It is divided by all entries that nobody labelled, sure or not: so it
    counts for little as long as the network is sure of little, and what it is divided by depends on the labels alone.

    Args:
        z_strong: logits of a strong view, floating point, shape (N, C) or (N, L).
        pseudo: as :func:`pseudo_labels` returns them.
        y: the labels that there are; -1 where not annotated.
        task: which of the two it is.

    Returns:
        the sum over pseudo-labels, and the number of entries without a label.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, pseudo_label_loss
        >>> animal = Multiclass("animal", ("cat", "crow"))
        >>> pseudo, y = torch.tensor([0, -1, -1]), torch.tensor([-1, -1, 0])
        >>> pseudo_label_loss(torch.zeros(3, 2), pseudo, y, animal).mean()  # log 2 of one of two
        tensor(0.3466)
    """
    total = supervised_loss(z_strong, pseudo, task).total
    return LossTerm(total, (y == MISSING).sum().to(total.dtype))


def flexible_thresholds(learned: Tensor, seen: Tensor, threshold: float, expected: Tensor | None = None) -> Tensor:
    r"""Lower the threshold of the states that a network is seldom sure of.

    .. math:: \beta_s = \frac{\sigma_s}{\max(\max_s \sigma_s, \; n - \sum_s \sigma_s)}, \qquad
              \tau_s = \tau \, \frac{\beta_s}{2 - \beta_s}

    B. Zhang et al., "FlexMatch: Boosting Semi-Supervised Learning with Curriculum Pseudo Labeling", NeurIPS 2021,
    equations 5, 6, 7 and 11. Beyond the paper: the counts are divided by what is expected of a state, as one that is
    rare among labels is no harder for being rare among sure predictions.

    Args:
        learned: sigma, how many sure predictions of each state there were, shape (..., S).
        seen: n, of how many predictions, shape (...).
        threshold: tau.
        expected: the share of each state among labels, shape (..., S), > 0; all alike where not given.

    Returns:
        tau by state, shape (..., S), in [0, threshold].

    Example:
        >>> flexible_thresholds(torch.tensor([40.0, 20.0]), torch.tensor(80.0), 0.9)
        tensor([0.9000, 0.3000])
    """
    states = learned.shape[-1]
    relative = learned if expected is None else learned / (states * expected.to(learned))
    unused = (seen - learned.sum(dim=-1)).clamp(min=0.0)
    most = torch.maximum(relative.amax(dim=-1), unused)
    beta = (relative / torch.where(most > 0, most, torch.ones_like(most))[..., None]).clamp(max=1.0)
    return threshold * beta / (2 - beta)
