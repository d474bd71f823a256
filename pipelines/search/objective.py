"""What a search goes by: which metric stands for each task, and what scores by task come to as one number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtlcore import primary_metric
from mtlcore.metrics.kinds import summed_metric
from mtlcore.metrics.summed import SUMMED_METRICS, SummedMetric
from mtlcore.tasks import Task
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import TaskMetrics, metrics_of


@dataclass(frozen=True)
class Measure:
    """The metric of a task that a search goes by.

    Attributes:
        task: the task.
        name: of the metric.
        metric: it as sums over inputs; None for one that is no sum: of it no interval over inputs is known.
        sign: -1 for an error, so that higher is better.
    """

    task: Task
    name: str
    metric: SummedMetric | None
    sign: int


@dataclass(frozen=True)
class Objective:
    """What a search goes by.

    Attributes:
        kind: ``safe``, ``mean``, ``delta_m``, ``pareto``, or ``task`` for one task's metric.
        measures: by task, those that are not auxiliary and have validation labels.
        of_task: the one task, where it is one.
    """

    kind: str
    measures: Mapping[str, Measure]
    of_task: str | None = None

    def value(self, scores: Mapping[str, Any], single: Mapping[str, float] | None = None) -> Any:
        """Return one number of scores by task, higher is better; the mean over tasks unless it says otherwise.

        Args:
            scores: by task, numbers or arrays of one shape.
            single: the single-task networks' scores, of which ``delta_m`` is a relative gain.
        """
        if self.of_task is not None:
            return scores[self.of_task]
        names = [name for name in self.measures if name in scores]
        if self.kind == "delta_m" and single and all(name in single for name in names):
            gains = [(scores[name] - single[name]) / abs(single[name]) if single[name] else np.nan for name in names]
            return sum(gains) / len(gains)
        return sum(scores[name] for name in names) / len(names)


def objective_of(case: Case) -> Objective:
    """Return the objective that a case asks for; its names have been checked when the case was loaded."""
    kind, metrics = case.tuning.objective, metrics_of(case)
    labelled = {task for data_set in case.of_split("validation").values() for task in data_set.labels}
    for_use = [name for name, task in tasks_of(case).items() if name in labelled and not task.auxiliary]
    task, _, metric = kind.partition(".")
    if task in metrics and kind not in ("safe", "mean", "delta_m", "pareto"):
        named = {task: metric or metrics[task].primary}
        kind = "task"
    else:
        named, task = {}, ""
    default = {name: of.primary if kind == "delta_m" else of.unitless for name, of in metrics.items()}
    measures = {name: _measure(metrics[name], named.get(name, default[name])) for name in for_use}
    return Objective(kind, measures, task or None)


def _measure(scored: TaskMetrics, name: str) -> Measure:
    task, summed = scored.task, None
    if name == scored.primary and scored.metric is not None:
        summed = scored.metric
    elif name == primary_metric(task):
        summed = summed_metric(task, None)
    elif name in scored.added:
        summed = scored.added[name]
    elif name in SUMMED_METRICS and task.kind in SUMMED_METRICS[name].kinds:
        summed = SUMMED_METRICS[name]()
    return Measure(task, name, summed, -1 if name in scored.lower_is_better else 1)
