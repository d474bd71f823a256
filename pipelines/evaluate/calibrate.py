"""Temperatures and thresholds of every arm, fitted on the validation split: what an exported network decides by."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mtlcore import (
    Multiclass,
    Multilabel,
    Ordinal,
    Regression,
    Task,
    fit_temperature,
    fit_thresholds,
    task_metrics,
)
from mtlcore.losses.ordinal import class_log_probabilities
from pipelines.evaluate.results import Calibration
from pipelines.evaluate.task_test import TaskTest, of_arm, or_null


@dataclass(frozen=True)
class Fitted:
    """What was fitted for one run and task.

    Attributes:
        temperature: p = softmax(z / T) or sigmoid(z / T).
        thresholds: of a multilabel task, by label, for such probabilities; empty of others.
    """

    temperature: float
    thresholds: tuple[float, ...]


def fit_calibration(task: Task, held_out: TaskTest, arm: str) -> list[Fitted]:
    """Fit an arm's calibration of a task, seed by seed; empty without validation labels, and of numbers."""
    if not len(held_out.labels) or isinstance(task, Regression):
        return []
    fitted = []
    for z in of_arm(held_out, arm):
        temperature = fit_temperature(z, held_out.labels, task)
        thresholds: tuple[float, ...] = ()
        if isinstance(task, Multilabel):
            thresholds = fit_thresholds((z / temperature).sigmoid(), held_out.labels)
        fitted.append(Fitted(temperature, thresholds))
    return fitted


def calibration_error(logits: Tensor, labels: Tensor, task: Task) -> float:
    """Return how far probabilities are from how often they are right: of the most probable class, of an order too."""
    if isinstance(task, Ordinal):
        classes = Multiclass(task.name, task.classes)
        return float(task_metrics(class_log_probabilities(logits), labels, classes)["calibration_error"])
    return float(task_metrics(logits, labels, task)["calibration_error"])


def calibrations(
    tasks: Mapping[str, Task], held_out: Mapping[str, TaskTest], arms: Mapping[str, object]
) -> dict[str, dict[str, list[Fitted]]]:
    """Return what was fitted by arm and task, a seed each; a task without validation labels has none."""
    found: dict[str, dict[str, list[Fitted]]] = {}
    for arm in arms:
        for name, test in held_out.items():
            if fitted := fit_calibration(tasks[name], test, arm):
                found.setdefault(arm, {})[name] = fitted
    return found


def calibration_result(task: Task, test: TaskTest, arm: str, fitted: list[Fitted]) -> Calibration | None:
    """Return an arm's calibration on the test split, before and after; None where nothing was fitted."""
    if not fitted:
        return None
    before, after = [], []
    for z, of_seed in zip(of_arm(test, arm), fitted, strict=True):
        before.append(or_null(calibration_error(z, test.labels, task)))
        after.append(or_null(calibration_error(z / of_seed.temperature, test.labels, task)))
    thresholds = {}
    if isinstance(task, Multilabel):
        thresholds = {label: [of_seed.thresholds[i] for of_seed in fitted] for i, label in enumerate(task.outputs)}
    return Calibration(
        temperature=[of_seed.temperature for of_seed in fitted],
        error_before=before,
        error_after=after,
        thresholds=thresholds,
    )
