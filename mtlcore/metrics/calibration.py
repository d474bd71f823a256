r"""Calibration on held-out labels: a temperature for a task's probabilities, and a threshold for each label."""

import math
from functools import partial

import torch
from torch import Tensor

from mtlcore.losses.ordinal import class_log_probabilities
from mtlcore.tasks import MISSING, Multiclass, Ordinal, Task

_RANGE = math.log(20.0)  # temperatures from 1/20 to 20
_GRID = 81
_ENTRIES_AT_ONCE = 1 << 20  # in float64: they stay in a processor's cache
_ROWS = 128  # a multiple of them begins where vectors of numbers do, so that how many there are changes no bit
_REFINEMENTS = 40
_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(logits: Tensor, labels: Tensor, task: Task) -> float:
    r"""Choose the temperature T that makes held-out labels most likely under softmax(z / T) or sigmoid(z / T).

    Guo et al., "On calibration of modern neural networks", ICML 2017. It changes no decision: not the most probable
    class, nor the median of an ordinal task, whose P(y > k) = sigmoid(z_k / T). As one input
    more would, a prior draws log T towards 0, so that a handful of labels that are all right does not make it 0.

    Args:
        logits: floating point, shape (N, outputs), of inputs that were not trained on.
        labels: integer, shape (N,) or (N, L), -1 where not annotated.
        task: multiclass, multilabel or ordinal.

    Returns:
        T, from 1/20 to 20; 1 where nothing is annotated.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, fit_temperature
        >>> z = torch.tensor([[5.0, 0.0]] * 400)  # says 0.993 and is right in three of four
        >>> T = fit_temperature(z, torch.tensor([0, 0, 0, 1] * 100), Multiclass("animal", ("cat", "crow")))
        >>> round(float((z / T).softmax(dim=1)[0, 0]), 2)
        0.75
    """
    annotated = labels != MISSING
    if not bool(annotated.any()):
        return 1.0
    if isinstance(task, Multiclass | Ordinal):
        z, y = logits if bool(annotated.all()) else logits[annotated], labels[annotated].long()
        log_probabilities = class_log_probabilities if isinstance(task, Ordinal) else partial(torch.log_softmax, dim=1)
        rows = _ROWS * max(1, _ENTRIES_AT_ONCE // (_ROWS * z.shape[1]))
        parts = list(zip(torch.split(z, rows), torch.split(y, rows), strict=True))

        def cost(log_t: float) -> float:
            of_true = [
                log_probabilities(of_part.double() / math.exp(log_t)).gather(1, true[:, None])
                for of_part, true in parts
            ]
            return float(-torch.cat(of_true).flatten().sum()) + log_t**2 / 2

    else:
        z, y = logits.double()[annotated], labels[annotated].double()

        def cost(log_t: float) -> float:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(z / math.exp(log_t), y, reduction="sum")
            return float(loss) + log_t**2 / 2

    step = 2 * _RANGE / (_GRID - 1)
    best = min((i * step - _RANGE for i in range(_GRID)), key=cost)
    low, high = max(-_RANGE, best - step), min(_RANGE, best + step)
    for _ in range(_REFINEMENTS):  # golden-section search
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, second) if cost(first) <= cost(second) else (first, high)
    return math.exp((low + high) / 2)


def fit_thresholds(probabilities: Tensor, labels: Tensor) -> tuple[float, ...]:
    """Choose for each label of a multilabel task the threshold of the highest F1 on held-out labels.

    Of several as good the one nearest to 0.5, between two probabilities the middle. Z. C. Lipton, C. Elkan,
    B. Narayanaswamy, "Optimal thresholding of classifiers to maximize F1 measure", ECML PKDD 2014.

    Args:
        probabilities: in [0, 1], shape (N, L).
        labels: integer, shape (N, L), -1 where not annotated.

    Returns:
        L thresholds in (0, 1): a label holds where its probability is at least as high; 0.5 for a label that never
        holds, or always.

    Example:
        >>> import torch
        >>> from mtlcore import fit_thresholds
        >>> fit_thresholds(torch.tensor([[0.125], [0.25], [0.5]]), torch.tensor([[0], [1], [1]]))
        (0.1875,)
    """
    return tuple(
        _threshold(p[y != MISSING].double(), y[y != MISSING] == 1)
        for p, y in zip(probabilities.unbind(dim=1), labels.unbind(dim=1), strict=True)
    )


def _threshold(p: Tensor, holds: Tensor) -> float:
    positives = int(holds.sum())
    if positives in (0, len(holds)):
        return 0.5
    p, order = p.sort(descending=True)
    found = holds[order].double().cumsum(dim=0)
    f1 = 2 * found / (torch.arange(1, len(p) + 1) + positives)
    below = torch.cat([p[1:], torch.zeros(1, dtype=p.dtype)])
    cut = below < p  # a threshold lies between two different probabilities
    best = f1[cut].max()
    candidates = ((p + below) / 2)[cut & (f1 >= best - 1e-12)]
    # A gap that holds 0.5 is cut there.
    spans = [(float(low), float(high)) for low, high in zip(below[cut], p[cut], strict=True)]
    tops = [span for span, top in zip(spans, f1[cut] >= best - 1e-12, strict=True) if top]
    if any(low < 0.5 <= high for low, high in tops):
        return 0.5
    return float(candidates[(candidates - 0.5).abs().argmin()])
