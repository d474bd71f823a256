"""How good the predictions of one task are, over annotated entries alone."""

import torch
from torch import Tensor

from mtlcore.tasks import MISSING, Multiclass, Task


def primary_metric(task: Task) -> str:
    """Name the metric by which arms are compared: ``accuracy`` (multiclass) or ``macro_f1`` (multilabel)."""
    return "accuracy" if isinstance(task, Multiclass) else "macro_f1"


def task_metrics(logits: Tensor, labels: Tensor, task: Task) -> dict[str, float]:
    """Compute a task's metrics with torchmetrics.

    Args:
        logits: floating point, shape (N, outputs).
        labels: integer, shape (N,) or (N, L), -1 where not annotated; such entries take no part.
        task: multiclass: accuracy (of all inputs), macro_f1; multilabel: macro_f1, macro_average_precision.

    Returns:
        metrics by name, each in [0, 1]; NaN where nothing is annotated. Of what occurs neither in the labels nor in
        the predictions, a class takes no part in macro-F1, a label counts 0 in it; a label without a positive has no
        average precision and takes no part in that average.
    """
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_f1_score,
        multilabel_average_precision,
        multilabel_f1_score,
    )

    outputs = len(task.outputs)
    annotated = labels != MISSING
    if isinstance(task, Multiclass):
        if not annotated.any():
            return {"accuracy": float("nan"), "macro_f1": float("nan")}
        predicted, true = logits[annotated].argmax(dim=1), labels[annotated]
        return {
            "accuracy": float(multiclass_accuracy(predicted, true, outputs, average="micro")),
            "macro_f1": float(multiclass_f1_score(predicted, true, outputs, average="macro")),
        }
    if not annotated.any():
        return {"macro_f1": float("nan"), "macro_average_precision": float("nan")}
    p, true = torch.sigmoid(logits.double()), labels.long()
    precision = multilabel_average_precision(p, true, outputs, average="none", ignore_index=MISSING)
    return {
        "macro_f1": float(multilabel_f1_score(p, true, outputs, average="macro", ignore_index=MISSING)),
        "macro_average_precision": float(precision.nanmean()),
    }
