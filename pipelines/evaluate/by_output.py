"""Scores class by class and label by label: the table that papers print."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mtlcore import MISSING, Multiclass, Multilabel, Task
from pipelines.evaluate.calibrate import Fitted
from pipelines.evaluate.results import OutputScores


def scores_by_output(
    task: Task, logits: Sequence[Tensor], labels: Tensor, fitted: Sequence[Fitted] = ()
) -> dict[str, OutputScores]:
    """Return the scores of every class or label over annotated entries, a value a seed; of other kinds none.

    Args:
        task: the task.
        logits: seed by seed, shape (N, outputs).
        labels: integer, shape (N,) or (N, L), -1 where not annotated.
        fitted: seed by seed, the thresholds at which a label's F1 is told too.
    """
    if not isinstance(task, Multiclass | Multilabel):
        return {}
    at_threshold: list[dict[str, list[float | None]]] = []
    if isinstance(task, Multiclass):
        true = labels.long()
        at_half = [_of_classes(true, z.argmax(dim=1), len(task.outputs)) for z in logits]
        support = torch.bincount(true, minlength=len(task.outputs)).tolist()
        entries = [len(true)] * len(task.outputs)
    else:
        known, annotated = labels == 1, labels != MISSING
        at_half = [_of_labels(known, annotated, z > 0) for z in logits]
        for z, of_seed in zip(logits, fitted, strict=True) if fitted else ():
            said = (z / of_seed.temperature).sigmoid() >= torch.tensor(of_seed.thresholds)
            at_threshold.append(_of_labels(known, annotated, said))
        support = (known & annotated).sum(dim=0).tolist()
        entries = annotated.sum(dim=0).tolist()
    return {
        name: OutputScores(
            support=support[i],
            annotated=entries[i],
            precision=[of_seed["precision"][i] for of_seed in at_half],
            recall=[of_seed["recall"][i] for of_seed in at_half],
            f1=[of_seed["f1"][i] for of_seed in at_half],
            f1_at_threshold=[of_seed["f1"][i] for of_seed in at_threshold] or None,
        )
        for i, name in enumerate(task.outputs)
    }


def _of_classes(true: Tensor, said: Tensor, classes: int) -> dict[str, list[float | None]]:
    """Count by class alone: a row a class of ten thousand inputs each is 10^8 entries."""
    counts = [torch.bincount(of, minlength=classes).double() for of in (true[said == true], true, said)]
    return _of_counts(*counts)


def _of_labels(holds: Tensor, annotated: Tensor, said: Tensor) -> dict[str, list[float | None]]:
    hits = (holds & said & annotated).sum(dim=0).double()
    return _of_counts(hits, (holds & annotated).sum(dim=0).double(), (said & annotated).sum(dim=0).double())


def _of_counts(hits: Tensor, positives: Tensor, claims: Tensor) -> dict[str, list[float | None]]:
    return {
        "precision": _shares(hits, claims),
        "recall": _shares(hits, positives),
        "f1": _shares(2 * hits, positives + claims),
    }


def _shares(parts: Tensor, wholes: Tensor) -> list[float | None]:
    found = np.round((parts / wholes).numpy(), 6).tolist()
    return [None if value != value else value for value in found]
