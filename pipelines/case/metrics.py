"""The metrics of a case's tasks: the built-in ones, those that ``evaluation.metrics`` adds, and which is primary."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlcore import LOWER_IS_BETTER, MISSING, Task, metric_names, primary_metric, task_metrics, unitless_metric
from mtlcore.metrics.summed import SUMMED_METRICS, SummedMetric
from pipelines.case.build import tasks_of
from pipelines.case.case import Case


@dataclass(frozen=True)
class TaskMetrics:
    """The metrics of a task.

    Attributes:
        task: the task.
        primary: the name of the metric by which arms are compared.
        metric: it, where it is not :func:`mtlcore.primary_metric`.
        unitless: the name of the one that stands for the task in a mean over tasks.
        lower_is_better: those that are errors.
        added: metrics of one's own by their name in results.
    """

    task: Task
    primary: str
    metric: SummedMetric | None
    unitless: str
    lower_is_better: frozenset[str]
    added: Mapping[str, SummedMetric]

    def scores(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Return every metric by name; the arguments of :func:`mtlcore.task_metrics`."""
        added = {name: metric(logits, labels, self.task) for name, metric in self.added.items()}
        return task_metrics(logits, labels, self.task) | added


def metrics_of(case: Case) -> dict[str, TaskMetrics]:
    """Return the metrics of every task.

    Raises:
        ValueError: a metric cannot be found, is not as the protocol has it, or two have the same name; begins with the
            key below ``evaluation.metrics``.
    """
    by_task = {}
    for name, task in tasks_of(case).items():
        settings = case.evaluation.metrics.get(name)
        names = [] if settings is None else [*settings.add, *filter(None, [settings.primary])]
        metrics: dict[str, SummedMetric] = {}
        built_in = metric_names(task)
        for metric_name in dict.fromkeys(names):
            key = f"{name}.{'primary' if settings and metric_name == settings.primary else 'add'}"
            if metric_name in built_in and metric_name not in SUMMED_METRICS:
                right = ", ".join(_names_for(task))
                raise ValueError(f"{key}: found {metric_name!r}; expected {right}, or your own: package.module:Class")
            short = short_name(metric_name)
            if short in metrics or (short in built_in and short != metric_name):
                raise ValueError(
                    f"{key}: found {metric_name!r}, and there is a metric {short!r} already; expected another name"
                )
            metrics[short] = _checked(metric_name, task, key)
        primary = primary_metric(task) if settings is None or settings.primary is None else short_name(settings.primary)
        metric = None if primary == primary_metric(task) else metrics[primary]
        unitless = primary if metric is not None and not metric.lower_is_better else unitless_metric(task)
        errors = LOWER_IS_BETTER & set(built_in) | {n for n, m in metrics.items() if m.lower_is_better}
        added = {n: m for n, m in metrics.items() if n not in built_in}
        by_task[name] = TaskMetrics(task, primary, metric, unitless, frozenset(errors), added)
    return by_task


def _names_for(task: Task) -> list[str]:
    """Name the built-in metrics that may be a task's primary one."""
    return [name for name in SUMMED_METRICS.built_in if task.kind in SUMMED_METRICS[name].kinds]


def short_name(name: str) -> str:
    """Return a metric's name in results: the object's, of ``package.module:object``."""
    return name.rpartition(":")[2]


def _checked(name: str, task: Task, key: str) -> SummedMetric:
    try:
        kind = SUMMED_METRICS[name]
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, SummedMetric)):
        raise ValueError(f"{key}: found {name!r}; expected a subclass of mtlcore.metrics.summed:SummedMetric")
    if task.kind not in kind.kinds:
        right = ", ".join(_names_for(task))
        raise ValueError(
            f"{key}: found {name!r}, and {task.name!r} is a {task.kind} task; expected {right}, or your own"
        )
    if name in SUMMED_METRICS:
        return kind()
    logits = torch.linspace(-3, 3, 4 * task.width).reshape(4, -1)
    labels = {
        "class": torch.tensor([0, 0, MISSING, 0]),
        "labels": (logits > 0).long() - 1,
        "numbers": torch.linspace(-1, 1, 4 * len(task.outputs)).reshape(4, -1),
    }[task.encoding]
    try:
        metric = kind()
        value = metric(logits, labels, task)
    except Exception as error:  # user code may raise anything
        raise ValueError(f"{key}: {name!r} failed: {type(error).__name__}: {error}") from error
    if value < 0 and task.encoding != "numbers":
        raise ValueError(f"{key}: {name!r} is {value:g} of some predictions; expected 0 or more, better when higher")
    return metric
