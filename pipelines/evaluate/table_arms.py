"""Arms that predict through a relatedness table: read backwards, or joined with the class head's own prediction.

They train nothing: they use the networks of the first arm that trains the same (see Case.trained_as).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mtlcore import (
    FusionWeights,
    Multiclass,
    Relatedness,
    fit_fusion,
    fuse_log_linear,
    read_classes,
    table_evidence,
)
from pipelines.batches.batch import class_priors, open_readers
from pipelines.batches.counted_relatedness import with_counted_tables
from pipelines.batches.coverage import unseen_classes
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.case import Case
from pipelines.evaluate.on_demand import OnDemand
from pipelines.experiment.run import Run

# By run and task: logits of every row of a split, float32, (rows, outputs).
Predicted = Mapping[Run, Mapping[str, Tensor]]
_ENTRIES_AT_ONCE = 1 << 25  # rows times classes, in float64


@dataclass(frozen=True)
class Reading:
    """What a multiclass task's tables and training labels say.

    Attributes:
        edges: the tables that lead from the task, each with the prior of the task that it leads to.
        prior: of the task's classes; one without a labelled training input has the mean of the others'.
        seen: which classes have one.
    """

    edges: tuple[tuple[Relatedness, Tensor], ...]
    prior: Tensor
    seen: Tensor

    def evidence(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Return what the other tasks' predictions say for each class, (rows, classes)."""
        parts = [table_evidence(logits[R.target.name], R, prior) for R, prior in self.edges]
        return torch.stack(parts).sum(dim=0)


def reads_any_table(case: Case) -> bool:
    """Say whether an arm of the case predicts through a table."""
    return any(arm.reads_the_table for arm in case.arms.values())


def open_readings(case: Case, data_sets: DataSets) -> dict[str, Reading]:
    """Return, by task, what can be read backwards: every multiclass task from which an edge leads; reads the labels."""
    readers = open_readers(case, data_sets, "train")
    tasks, priors, unseen = tasks_of(case), class_priors(case, readers), unseen_classes(case, data_sets)
    edges: dict[str, list[tuple[Relatedness, Tensor]]] = {}
    for edge in with_counted_tables(case, readers).relatedness:
        if isinstance(tasks[edge.source], Multiclass):
            prior = torch.tensor(priors[edge.target], dtype=torch.float64)
            edges.setdefault(edge.source, []).append((relatedness_of(edge, tasks), prior))
    readings = {}
    for name, of_task in edges.items():
        never = set(unseen.get(name, ()))
        seen = torch.tensor([c not in never for c in tasks[name].outputs])
        prior = torch.tensor(priors[name], dtype=torch.float64)
        if bool(seen.any()):
            prior = torch.where(seen, prior, prior[seen].mean())
        readings[name] = Reading(tuple(of_task), prior / prior.sum(), seen)
    return readings


def _in_memory(logits: Tensor) -> Callable[[], Tensor]:
    return lambda: logits


def with_every_arm(
    case: Case,
    predicted: Predicted,
    readings: Mapping[str, Reading],
    weights: Mapping[str, Mapping[str, Sequence[FusionWeights]]],
    keep: Callable[[Tensor], Callable[[], Tensor]] = _in_memory,
) -> dict[Run, Mapping[str, Tensor]]:
    """Return predictions by every arm's own runs, those that share another's networks included.

    Args:
        case: the case.
        predicted: of the runs that were trained.
        readings: by task.
        weights: by arm, task and seed, as :func:`fusion_weights` gives them; the defaults where an arm has none.
        keep: puts logits away that are computed here; returns what takes them from there.
    """
    by_run: dict[Run, Mapping[str, Tensor]] = {}
    for name, arm in case.arms.items():
        for run, logits in predicted.items():
            if run.arm != case.trained_as(name):
                continue
            as_predicted = {task: partial(logits.__getitem__, task) for task in logits}
            fused: dict[str, Callable[[], Tensor]] = {}
            for task in set(readings) & set(logits) if arm.reads_the_table else ():
                reading, of_seeds = readings[task], weights.get(name, {}).get(task)
                fusion = of_seeds[case.training.seeds.index(run.seed)] if of_seeds else FusionWeights()
                head = logits[task] if arm.fuse else None
                fused[task] = keep(_through_the_table(head, _of_all_tasks(predicted, run), reading, fusion))
            by_run[Run(name, run.network, run.tasks, run.seed)] = OnDemand(as_predicted | fused)
    return by_run


def _through_the_table(
    head: Tensor | None, logits: Mapping[str, Tensor], reading: Reading, fusion: FusionWeights
) -> Tensor:
    """Return what a table says of a task, with the task's head or alone, float32 (rows, classes)."""
    of_edges = {R.target.name: logits[R.target.name] for R, _ in reading.edges}
    rows, classes = len(next(iter(of_edges.values()))), len(reading.prior)
    found = torch.empty(rows, classes)
    size = max(1, _ENTRIES_AT_ONCE // classes)
    for part in (slice(start, start + size) for start in range(0, rows, size)):
        evidence = reading.evidence({name: z[part] for name, z in of_edges.items()})
        found[part] = (
            read_classes(evidence, reading.prior, fusion.alone)
            if head is None
            else fuse_log_linear(head[part], evidence, reading.prior, fusion, reading.seen)
        )
    return found


def fusion_weights(
    case: Case, predicted: Predicted, data_sets: DataSets, readings: Mapping[str, Reading]
) -> dict[str, dict[str, list[FusionWeights]]]:
    """Choose the weights of every arm that reads a table, by task and seed, on the validation split.

    A task that no validation dataset is labelled for is left out: it keeps the defaults.
    """
    if not readings:
        return {}
    readers = open_readers(case, data_sets, "validation")
    weights: dict[str, dict[str, list[FusionWeights]]] = {}
    for task, reading in readings.items():
        if not any(task in data_set.labels for data_set in case.of_split("validation").values()):
            continue
        labels = torch.from_numpy(np.concatenate([reader.labels(task) for reader in readers.values()]))
        for name, arm in case.arms.items():
            if not arm.reads_the_table or task not in case.tasks_of_arm(name):
                continue
            for seed in case.training.seeds:
                run = next(
                    run
                    for run in predicted
                    if run.arm == case.trained_as(name) and run.seed == seed and task in run.tasks
                )
                evidence = reading.evidence(_of_all_tasks(predicted, run))
                head = predicted[run][task] if arm.fuse else None
                fusion = fit_fusion(head, evidence, reading.prior, labels, seen=reading.seen)
                weights.setdefault(name, {}).setdefault(task, []).append(fusion)
    return weights


def _of_all_tasks(predicted: Predicted, run: Run) -> Mapping[str, Tensor]:
    """Return the logits of every task by the arm and seed of a run: of one network a task, put together."""
    siblings = [logits for sibling, logits in predicted.items() if (sibling.arm, sibling.seed) == (run.arm, run.seed)]
    return OnDemand({task: partial(of.__getitem__, task) for of in siblings for task in of})
