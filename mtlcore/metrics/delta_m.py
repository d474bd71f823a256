"""Delta_m: the mean relative gain of multi-task training over single-task networks."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from torch import Tensor

from mtlcore.metrics.bootstrap import groups_by_annotation
from mtlcore.metrics.interval import Interval
from mtlcore.metrics.kinds import summed_metric
from mtlcore.metrics.student_t import interval_half_width
from mtlcore.metrics.summed import SummedMetric
from mtlcore.tasks import Task


def delta_m(
    scores: Mapping[str, float], baseline: Mapping[str, float], *, lower_is_better: Collection[str] = ()
) -> float:
    r"""Return the mean over tasks of the relative gain over the baseline.

    .. math:: \Delta_m = \frac{1}{T} \sum_t (-1)^{l_t} \frac{M_t - M_{b,t}}{M_{b,t}}

    with :math:`l_t = 1` where lower is better. Maninis, Radosavovic and Kokkinos, "Attentive Single-Tasking of
    Multiple Tasks", CVPR 2019; Vandenhende et al., "Multi-Task Learning for Dense Prediction Tasks: A Survey", TPAMI
    2021. It is relative: a task on which the baseline scores little weighs much.

    Args:
        scores: a score by task.
        baseline: the baseline's scores, for the same tasks; not negative.
        lower_is_better: the tasks whose score is an error.

    Returns:
        the mean gain; 0.05 is 5 %. NaN where a score is NaN or the baseline scores 0 on a task.

    Raises:
        ValueError: there is no task, the tasks differ, ``lower_is_better`` names another, or a baseline is negative.

    Example:
        >>> from mtlcore import delta_m
        >>> round(delta_m({"a": 0.55, "b": 0.8}, {"a": 0.5, "b": 0.8}), 3)
        0.05
    """
    if set(scores) != set(baseline) or not scores:
        raise ValueError(
            f"baseline: found tasks {sorted(baseline)}; expected those of the scores, {sorted(scores)}, one at least"
        )
    if unknown := set(lower_is_better) - set(scores):
        raise ValueError(f"lower_is_better: found {sorted(unknown)}; expected tasks, of {sorted(scores)}")
    if negative := [task for task, score in baseline.items() if score < 0]:
        raise ValueError(f"baseline: found a negative score of {negative[0]!r}; expected scores of 0 or more")
    gains = [
        (score - baseline[task]) / baseline[task] * (-1 if task in lower_is_better else 1) if baseline[task] else np.nan
        for task, score in scores.items()
    ]
    return float(sum(gains) / len(gains))


def bootstrapped_delta_m(
    arm: Mapping[str, Sequence[Tensor]],
    baseline: Mapping[str, Sequence[Tensor]],
    labels: Mapping[str, Tensor],
    inputs: Mapping[str, Tensor],
    tasks: Sequence[Task],
    *,
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    metrics: Mapping[str, SummedMetric | None] | None = None,
) -> Interval:
    """Compute Delta_m of the tasks' primary metrics with its interval, paired as :func:`mtlcore.paired_difference` is.

    A seed is left out for all tasks at once (its network serves them all), and a replicate draws test inputs once for
    all tasks: an input annotated for several tasks is drawn for all of them. Inputs are drawn within the groups that
    are annotated for the same tasks, so every task keeps its number of inputs, and tasks with test sets of their own
    are drawn independently. The value is Delta_m of the means over seeds. The fewer the seeds the wider the interval.

    Args:
        arm: by task, logits on the task's test inputs, one tensor (N_t, outputs) a seed.
        baseline: the same for the baseline, seed by seed.
        labels: by task, (N_t,) or (N_t, L), -1 where not annotated.
        inputs: by task, int64 (N_t,): which input a row is. The same number in two tasks is the same input.
        tasks: the tasks.
        replicates: number of bootstrap replicates.
        confidence: coverage of the interval, in (0, 1).
        seed: of the bootstrap's own generator.
        metrics: by task, another metric in the primary one's place.

    Returns:
        Delta_m with its interval; NaN where the baseline scores 0 or less on a task.

    Raises:
        ValueError: the seeds are not as many everywhere, or an input stands twice in a task.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, bootstrapped_delta_m
        >>> y = torch.tensor([0, 1] * 50)
        >>> right = torch.nn.functional.one_hot(y, 2).float()
        >>> half = right.clone()
        >>> half[::4] = half[::4].flip(1)
        >>> task = Multiclass("t", ("a", "b"))
        >>> inputs = {"t": torch.arange(100)}
        >>> found = bootstrapped_delta_m({"t": [right]}, {"t": [half]}, {"t": y}, inputs, [task])
        >>> round(found.value, 3), found.low > 0.1
        (0.333, True)
    """
    seeds = len(arm[tasks[0].name])
    for task in tasks:
        for side, logits in (("arm", arm), ("baseline", baseline)):
            if len(logits[task.name]) != seeds or not seeds:
                raise ValueError(
                    f"{side}: found {len(logits[task.name])} seeds of {task.name!r} and {seeds} of "
                    f"{tasks[0].name!r} in the arm; expected the same number, at least one"
                )
        if len(np.unique(inputs[task.name].numpy())) < len(inputs[task.name]):
            raise ValueError(f"inputs: found one twice in {task.name!r}; expected once")
    metric = {task.name: summed_metric(task, (metrics or {}).get(task.name)) for task in tasks}
    errors = {name for name, of_task in metric.items() if of_task.lower_is_better}
    generator = np.random.Generator(np.random.PCG64(seed))
    ids = np.unique(np.concatenate([inputs[task.name].numpy() for task in tasks]))
    places = {task.name: np.searchsorted(ids, inputs[task.name].numpy()) for task in tasks}
    counts = {
        (side, task.name): np.stack(
            [metric[task.name].contributions(z, labels[task.name], task) for z in logits[task.name]]
        )
        for side, logits in (("arm", arm), ("baseline", baseline))
        for task in tasks
    }  # (seeds, N_t, K)

    def gain(drawn_seeds: np.ndarray, weight: np.ndarray) -> float:
        def scores(side: str) -> dict[str, float]:
            # every seed's counts over the drawn inputs
            return {
                task.name: float(
                    of.score(of.sums(counts[side, task.name], task, weight[places[task.name]]), task)[
                        drawn_seeds
                    ].mean()
                )
                for task, of in zip(tasks, metric.values(), strict=True)
            }

        of_baseline = scores("baseline")
        if any(score < 0 for score in of_baseline.values()):
            return np.nan  # r2 and ccc may be: what is relative to less than nothing says nothing
        return delta_m(scores("arm"), of_baseline, lower_is_better=errors)

    groups = groups_by_annotation(ids, [inputs[task.name].numpy() for task in tasks])
    replicated = np.empty(replicates)
    for r in range(replicates):
        weight = np.zeros(len(ids))
        for group in groups:
            weight[group] = np.bincount(generator.integers(len(group), size=len(group)), minlength=len(group))
        replicated[r] = gain(np.arange(seeds), weight)
    everything = np.ones(len(ids))
    value = gain(np.arange(seeds), everything)
    if np.isnan(replicated).all() or np.isnan(value):
        return Interval(value, np.nan, np.nan)
    remaining_seeds = [np.delete(np.arange(seeds), left_out) for left_out in range(seeds)] if seeds > 1 else []
    half = interval_half_width(np.array([gain(kept, everything) for kept in remaining_seeds]), replicated, confidence)
    return Interval(value, value - half, value + half)
