"""What is measured of the training labels: mean and spread of numbers, weights of classes and of labels that hold."""

import math
from collections.abc import Sequence

from pipelines.blocks.datasets import DataSets
from pipelines.blocks.manifest import LabelCounts
from pipelines.case.case import Case
from pipelines.case.data import MulticlassTask, MultilabelTask, RegressionTask, TaskSection, outputs_of


def with_measured_labels(case: Case, data_sets: DataSets) -> Case:
    """Put numbers where a regression task says nothing of its mean or spread, and where weights are to be counted.

    They are those of the training labels, as the manifests have them, over all datasets together: a number that is the
    same in every row, or that no row has, gets the spread 1. Class weights: ``balanced``, n / (C n_c) with C classes
    that have rows; ``effective``, (1 - beta) / (1 - beta^n_c), scaled so that they sum to C. ``pos_weight: balanced``:
    rows on which a label does not hold over those on which it does. What has no row weighs 1.

    Args:
        case: the case.
        data_sets: all of its datasets.
    """
    changed: dict[str, TaskSection] = {}
    for name, task in case.tasks.items():
        if not is_measured(task):
            continue
        counts = [of.labels[name] for of in data_sets.of_split("train").manifests.values() if name in of.labels]
        if not isinstance(task, RegressionTask):
            changed[name] = _weighed(task, counts)
            continue
        moments = [_together(counts, output) for output in outputs_of(name, task)]
        mean, spread = tuple(mean for mean, _ in moments), tuple(spread for _, spread in moments)
        changed[name] = task.model_copy(update={"mean": task.mean or mean, "spread": task.spread or spread})
    return case.model_copy(update={"tasks": {**case.tasks, **changed}}) if changed else case


def is_measured(task: TaskSection) -> bool:
    """Say whether something of a task is to be measured."""
    if isinstance(task, RegressionTask):
        return None in (task.mean, task.spread)
    return isinstance(getattr(task, "class_weights", None), str) or isinstance(getattr(task, "pos_weight", None), str)


def _weighed(task: TaskSection, counts: Sequence[LabelCounts]) -> TaskSection:
    if isinstance(task, MulticlassTask):
        rows = {name: sum(of.histogram.get(name, 0) for of in counts) for name in task.classes}
        there = {name: n for name, n in rows.items() if n}
        if task.class_weights == "balanced":
            weights = {name: sum(there.values()) / (len(there) * n) for name, n in there.items()}
        else:
            beta = task.effective_beta
            raw = {name: (1 - beta) / (1 - beta**n) for name, n in there.items()}
            weights = {name: weight * len(raw) / sum(raw.values()) for name, weight in raw.items()}
        return task.model_copy(update={"class_weights": weights})
    assert isinstance(task, MultilabelTask)
    held = {name: sum(of.histogram.get(name, 0) for of in counts) for name in task.labels}
    known = {name: sum(of.known.get(name, 0) for of in counts) for name in task.labels}
    ratio = {name: (known[name] - n) / n for name, n in held.items() if 0 < n < known[name]}
    return task.model_copy(update={"pos_weight": ratio})


def _together(counts: Sequence[LabelCounts], output: str) -> tuple[float, float]:
    """Return mean and standard deviation over several datasets."""
    known = [(of.known[output], of.mean[output], of.spread[output]) for of in counts if of.known.get(output)]
    n = sum(rows for rows, _, _ in known)
    if not n:
        return 0.0, 1.0
    mean = sum(rows * of for rows, of, _ in known) / n
    variance = sum(rows * (spread**2 + (of - mean) ** 2) for rows, of, spread in known) / n
    return mean, math.sqrt(variance) if variance > 1e-12 * max(mean**2, 1e-12) else 1.0
