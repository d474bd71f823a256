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
    known = _holds(task, labels) if isinstance(task, Multiclass) else labels == 1
    annotated = torch.ones_like(known) if isinstance(task, Multiclass) else labels != MISSING
    at_half = [_of_seed(known, annotated, _predicted(task, z)) for z in logits]
    at_threshold: list[dict[str, list[float | None]]] = []
    if fitted and not isinstance(task, Multiclass):
        for z, of_seed in zip(logits, fitted, strict=True):
            said = (z / of_seed.temperature).sigmoid() >= torch.tensor(of_seed.thresholds)
            at_threshold.append(_of_seed(known, annotated, said))
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


def _holds(task: Task, classes: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(classes.long(), len(task.outputs)).bool()


def _predicted(task: Task, logits: Tensor) -> Tensor:
    return _holds(task, logits.argmax(dim=1)) if isinstance(task, Multiclass) else logits > 0


def _of_seed(holds: Tensor, annotated: Tensor, said: Tensor) -> dict[str, list[float | None]]:
    hits = (holds & said & annotated).sum(dim=0).double()
    positives, claims = (holds & annotated).sum(dim=0).double(), (said & annotated).sum(dim=0).double()
    return {
        "precision": _shares(hits, claims),
        "recall": _shares(hits, positives),
        "f1": _shares(2 * hits, positives + claims),
    }


def _shares(parts: Tensor, wholes: Tensor) -> list[float | None]:
    found = np.round((parts / wholes).numpy(), 6).tolist()
    return [None if value != value else value for value in found]
