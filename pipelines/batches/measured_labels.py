"""Mean and spread of the training labels, by which a regression task's numbers are standardised."""

import math
from collections.abc import Sequence

from pipelines.blocks.datasets import DataSets
from pipelines.blocks.manifest import LabelCounts
from pipelines.case.case import Case
from pipelines.case.data import RegressionTask, outputs_of


def with_measured_labels(case: Case, data_sets: DataSets) -> Case:
    """Put numbers, one an output, where a regression task says nothing of its mean or spread.

    They are those of the training labels, as the manifests have them, over all datasets together: a number that is the
    same in every row, or that no row has, gets the spread 1.

    Args:
        case: the case.
        data_sets: all of its datasets.
    """
    changed = {}
    for name, task in case.tasks.items():
        if not isinstance(task, RegressionTask) or None not in (task.mean, task.spread):
            continue
        counts = [of.labels[name] for of in data_sets.of_split("train").manifests.values() if name in of.labels]
        moments = [_together(counts, output) for output in outputs_of(name, task)]
        mean, spread = tuple(mean for mean, _ in moments), tuple(spread for _, spread in moments)
        changed[name] = task.model_copy(update={"mean": task.mean or mean, "spread": task.spread or spread})
    return case.model_copy(update={"tasks": {**case.tasks, **changed}}) if changed else case


def _together(counts: Sequence[LabelCounts], output: str) -> tuple[float, float]:
    """Return mean and standard deviation over several datasets."""
    known = [(of.known[output], of.mean[output], of.spread[output]) for of in counts if of.known.get(output)]
    n = sum(rows for rows, _, _ in known)
    if not n:
        return 0.0, 1.0
    mean = sum(rows * of for rows, of, _ in known) / n
    variance = sum(rows * (spread**2 + (of - mean) ** 2) for rows, of, spread in known) / n
    return mean, math.sqrt(variance) if variance > 1e-12 * max(mean**2, 1e-12) else 1.0
