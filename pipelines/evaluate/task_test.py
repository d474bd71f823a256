"""The predictions of a split that are scored: those of the inputs annotated for a task."""

import math
from dataclasses import dataclass

from torch import Tensor

from pipelines.experiment.run import Run


@dataclass(frozen=True)
class TaskTest:
    """The inputs of a split that are annotated for a task: where each stands in the split, and its labels."""

    rows: Tensor
    labels: Tensor
    logits: dict[Run, Tensor]


def of_arm(test: TaskTest, arm: str) -> list[Tensor]:
    """Return an arm's logits, seed by seed."""
    return [logits for run, logits in test.logits.items() if run.arm == arm]


def or_null(value: float) -> float | None:
    """Return a number as JSON holds it."""
    return None if math.isnan(value) else value
