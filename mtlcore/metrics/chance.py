"""Whether an arm is at chance: no better than predictions that ignore the inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtlcore.metrics.bootstrap import paired_contributions, paired_interval
from mtlcore.metrics.kinds import OF_KIND, summed_metric
from mtlcore.metrics.summed import SummedMetric
from mtlcore.tasks import Task


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
    states each label. For an ordinal task it is the error of always stating the median class, for a regression task
    that of the test inputs' mean. By a chosen ``metric`` a multiclass arm has to be above both, since a mean over
    classes makes little of one class alone. Clearly above (below, of an error): the whole interval of
    :func:`mtlcore.paired_difference` lies above 0.

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
    kinds = [task.kind, "multilabel"] if metric is not None and task.kind == "multiclass" else [task.kind]
    scored = summed_metric(task, metric)
    intervals = []
    for kind in kinds:
        generator = torch.Generator().manual_seed(seed)
        pairs = (
            paired_contributions(z, OF_KIND[kind].blind(z, labels, task, generator), labels, task, scored)
            for z in logits
        )
        intervals.append(
            paired_interval(list(pairs), task, scored, replicates=replicates, confidence=confidence, seed=seed)
        )
    if scored.lower_is_better:
        return not all(interval.high < 0 for interval in intervals)
    return not all(interval.low > 0 for interval in intervals)
