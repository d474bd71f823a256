"""Whether an arm is at chance: no better than predictions that ignore the inputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mtlcore.metrics.bootstrap import paired_difference
from mtlcore.metrics.summed import SummedMetric
from mtlcore.tasks import MISSING, Multiclass, Task


def is_at_chance(
    logits: Sequence[Tensor],
    labels: Tensor,
    task: Task,
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    metric: SummedMetric | None = None,
) -> bool:
    """Say whether an arm is not clearly above what can be had without looking at the inputs.

    For a multiclass task that is the accuracy of always stating the most frequent class of the test inputs; for a
    multilabel task the macro-F1 of the arm's own predictions dealt to the inputs at random, which keeps how often it
    states each label. By a chosen ``metric`` a multiclass arm has to be above both, since a mean over classes makes
    little of one class alone. Clearly above: the whole interval of :func:`mtlcore.paired_difference` lies above 0.

    Args:
        logits: on the test inputs, one tensor (N, outputs) a seed.
        labels: (N,) or (N, L), -1 where not annotated.
        task: the task.
        replicates: as for :func:`mtlcore.paired_difference`.
        confidence: as for :func:`mtlcore.paired_difference`.
        seed: of the deal and of the bootstrap.
        metric: as for :func:`mtlcore.paired_difference`.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, is_at_chance
        >>> y = torch.tensor([0, 1] * 50)
        >>> always_0, right = torch.tensor([[1.0, 0.0]]).repeat(100, 1), torch.nn.functional.one_hot(y, 2).float()
        >>> two = Multiclass("t", ("a", "b"))
        >>> is_at_chance([always_0], y, two), is_at_chance([right], y, two)
        (True, False)
    """
    blind: list[list[Tensor]] = []
    if isinstance(task, Multiclass):
        counts = torch.bincount(labels[labels != MISSING].long(), minlength=len(task.classes))
        most_frequent = one_hot(counts.argmax(), len(task.classes)).double().expand(len(labels), -1)
        blind.append([most_frequent] * len(logits))
    if metric is not None or not isinstance(task, Multiclass):
        generator = torch.Generator().manual_seed(seed)
        blind.append([z[torch.randperm(len(z), generator=generator)] for z in logits])
    options: dict[str, Any] = {"replicates": replicates, "confidence": confidence, "seed": seed, "metric": metric}
    return not all(paired_difference(logits, other, labels, task, **options).low > 0 for other in blind)
