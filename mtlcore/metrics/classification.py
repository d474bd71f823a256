"""Metrics of classes and of labels, with torchmetrics, over annotated entries alone."""

import torch
from torch import Tensor

from mtlcore.tasks import MISSING, Task

_BINS = 15
_COLUMNS_AT_ONCE = 64  # of an average precision: memory stays flat for ten thousand classes
_ENTRIES_AT_ONCE = 1 << 20
_ROWS = 128  # a multiple of them begins where vectors of numbers do, so that how many there are changes no bit
# torchmetrics gives a probability of exactly 1 a bin of its own; the last bin of Guo et al. holds it.
_ALMOST_1 = 1 - 2**-24


def multiclass_metrics(logits: Tensor, labels: Tensor, task: Task) -> dict[str, Tensor]:
    """Return every metric of classes by name; at least one input is annotated."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    annotated = labels != MISSING
    z, true = logits if bool(annotated.all()) else logits[annotated], labels[annotated].long()
    if z.shape[1] == 1:  # a second class that is impossible and takes no part: odds are to another one
        z = torch.cat([z, torch.full_like(z, -torch.inf)], dim=1)
    classes = z.shape[1]
    predicted = z.argmax(dim=1)
    # In float64 some rows at a time: of ten thousand classes, the logits themselves are most of what memory holds.
    rows = _ROWS * max(1, _ENTRIES_AT_ONCE // (_ROWS * classes))
    stated, log_odds = torch.empty(len(z), dtype=torch.float64), torch.empty(z.shape)
    for start in range(0, len(z), rows):
        part = z[start : start + rows].double()
        stated[start : start + rows] = part.softmax(dim=1).amax(dim=1)
        log_odds[start : start + rows] = _log_odds(part)
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
        "macro_average_precision": _average_precision(log_odds, true),
        # of the most probable class alone: it is class 0 here, and where it is not the true one, class 1 is
        "calibration_error": multiclass_calibration_error(
            torch.stack([stated.clamp(max=_ALMOST_1), torch.zeros_like(stated)], dim=1),
            (predicted != true).long(),
            2,
            n_bins=_BINS,
        ),
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

    Args:
        score: (N, C).
        true: (N, C), 1 where it holds; or (N,), the one column that does.
    """
    columns = torch.unique(true) if true.dim() == 1 else (true == 1).any(dim=0).nonzero().flatten()
    if not len(columns):
        return torch.tensor(torch.nan)

    def truth(some: Tensor) -> Tensor:
        return (true == some[:, None]).long() if true.dim() == 1 else true.T[some]

    parts = [_average_precisions(score.T[some], truth(some)) for some in torch.split(columns, _COLUMNS_AT_ONCE)]
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
