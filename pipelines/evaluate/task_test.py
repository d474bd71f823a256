"""The predictions of a split that are scored: those of the inputs annotated for a task."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pipelines.evaluate.on_demand import Chosen
from pipelines.experiment.run import Run


@dataclass(frozen=True)
class TaskTest:
    """The inputs of a split that are annotated for a task: where each stands in the split, and its labels.

    Attributes:
        rows: int64 (n,), rising.
        labels: as :mod:`mtlcore.tasks` says.
        logits: by run, float32 (n, task.width); they may be made whenever they are asked for, so ask once.
    """

    rows: Tensor
    labels: Tensor
    logits: Mapping[Run, Tensor]


def of_arm(test: TaskTest, arm: str) -> Sequence[Tensor]:
    """Return an arm's logits, seed by seed, each when it is asked for."""
    return Chosen(test.logits, [run for run in test.logits if run.arm == arm])


def or_null(value: float) -> float | None:
    """Return a number as JSON holds it."""
    return None if math.isnan(value) else value
