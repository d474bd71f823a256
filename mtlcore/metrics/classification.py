"""Metrics of classes and of labels, with torchmetrics, over annotated entries alone."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mtlcore.tasks import MISSING, Task

_BINS = 15
_COLUMNS_AT_ONCE = 64  # of an average precision: memory stays flat for ten thousand classes
# torchmetrics gives a probability of exactly 1 a bin of its own; the last bin of Guo et al. holds it.
_ALMOST_1 = 1 - 2**-24


def multiclass_metrics(logits: Tensor, labels: Tensor, task: Task) -> dict[str, Tensor]:
    """Return every metric of classes by name; at least one input is annotated."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    annotated = labels != MISSING
    z, true = logits[annotated].double(), labels[annotated].long()
    if z.shape[1] == 1:  # torchmetrics wants two classes: the second is impossible and takes no part
        z = torch.cat([z, torch.full_like(z, -torch.inf)], dim=1)
    classes = z.shape[1]
    p, predicted = z.softmax(dim=1), z.argmax(dim=1)
    # Counted here: torchmetrics counts all pairs of classes, 10^8 of 10,000.
    hits, occurs, claims = (torch.bincount(of, minlength=classes) for of in (true[predicted == true], true, predicted))
    either = occurs + claims > 0
    f1 = 2.0 * hits[either] / (occurs + claims)[either]
    return {
        "accuracy": hits.sum().float() / len(true),
        # over the classes that occur: one that is predicted and never occurs has no recall
        "balanced_accuracy": (hits.float() / occurs)[occurs > 0].mean(),
        "macro_f1": (f1 / len(f1)).sum(),
        # in float32, where inputs with equal logits tie: in float64 a vector's lanes may differ in the last digit
        "macro_average_precision": _average_precision(_log_odds(z).float(), one_hot(true, classes)),
        "calibration_error": multiclass_calibration_error(p.clamp(max=_ALMOST_1), true, classes, n_bins=_BINS),
    }


def _log_odds(z: Tensor) -> Tensor:
    """Return log p - log(1 - p) of p = softmax(z), shape (N, C): it still ranks where p is 1 to the last digit."""
    log_total, top = z.logsumexp(dim=1, keepdim=True), z.argmax(dim=1, keepdim=True)
    log_odds = z - (
        log_total + torch.log1p(-(z - log_total).exp().clamp(max=0.5))
    )  # a class that is not the top has <= 1/2
    of_top = z.gather(1, top) - z.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    return log_odds.scatter(1, top, of_top)


def multilabel_metrics(logits: Tensor, labels: Tensor, task: Task) -> dict[str, Tensor]:
    """Return every metric of labels by name; at least one entry is annotated."""
    from torchmetrics.functional.classification import (
        binary_calibration_error,
        multilabel_stat_scores,
    )

    annotated = (labels != MISSING).any(dim=0)
    z, true = logits[:, annotated].double(), labels[:, annotated].long()
    if z.shape[1] == 1:  # torchmetrics wants two labels: the one stands twice, which changes no mean
        z, true = z.expand(-1, 2), true.expand(-1, 2)
    p, outputs = torch.sigmoid(z), z.shape[1]
    scores = multilabel_stat_scores(p, true, outputs, average="none", ignore_index=MISSING).double()
    tp, fp, tn, fn, _ = scores.unbind(dim=1)
    f1 = 2 * tp / (2 * tp + fp + fn)  # NaN where a label neither occurs nor is predicted: there is nothing to find
    recall_and_specificity = torch.stack([tp / (tp + fn), tn / (tn + fp)])
    errors = [
        binary_calibration_error(stated.clamp(max=_ALMOST_1), holds, n_bins=_BINS, ignore_index=MISSING)
        for stated, holds in zip(p.unbind(dim=1), true.unbind(dim=1), strict=True)
    ]
    return {
        "accuracy": ((tp + tn) / (tp + fp + tn + fn)).mean(),
        "balanced_accuracy": recall_and_specificity.nanmean(dim=0).mean(),
        "macro_f1": f1.nanmean() if not f1.isnan().all() else torch.ones(()),
        "macro_average_precision": _average_precision(z, true),
        "calibration_error": torch.stack(errors).mean(),
    }


def _average_precision(score: Tensor, true: Tensor) -> Tensor:
    """Return the mean average precision of the columns that have a positive; NaN where none has.

    Of a column it is the sum over distinct scores, from high to low, of the precision there times the gain in recall.
    """
    columns = (true == 1).any(dim=0).nonzero().flatten()
    if not len(columns):
        return torch.tensor(torch.nan)
    parts = [_average_precisions(score.T[some], true.T[some]) for some in torch.split(columns, _COLUMNS_AT_ONCE)]
    return torch.cat(parts).mean()


def _average_precisions(score: Tensor, true: Tensor) -> Tensor:
    """Return the average precision of every row, float64; entries that are not annotated take no part."""
    n = score.shape[1]
    score, order = score.sort(dim=1, descending=True)
    true = true.gather(1, order)
    hit = (true == 1).double()
    precision = hit.cumsum(dim=1) / (true != MISSING).double().cumsum(dim=1).clamp(min=1)
    # equal scores are one threshold: the precision of each of them is that at the last
    last = torch.ones_like(score, dtype=torch.bool)
    last[:, :-1] = score[:, :-1] != score[:, 1:]
    place = torch.where(last, torch.arange(n), n).flip(1).cummin(dim=1).values.flip(1)
    return (hit * precision.gather(1, place)).sum(dim=1) / hit.sum(dim=1)
