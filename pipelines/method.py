"""From the case file's settings to the method's own objects."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    Multiclass,
    Multilabel,
    MultiTaskNetwork,
    Relatedness,
    RelatedPair,
    SoftCoAnnotation,
    Task,
    drawn_from,
    mlp,
    small_cnn,
)
from pipelines.case import Case, Matching, MulticlassTask, RelatednessEdge


def tasks_of(case: Case) -> dict[str, Task]:
    """Return the case's tasks by name."""
    return {
        name: Multiclass(name, task.classes) if isinstance(task, MulticlassTask) else Multilabel(name, task.labels)
        for name, task in case.tasks.items()
    }


def relatedness_of(edge: RelatednessEdge, tasks: dict[str, Task]) -> Relatedness:
    """Return an edge's table as R.

    Raises:
        ValueError: a row or cell is wrong.
    """
    return Relatedness.from_rows(tasks[edge.source], tasks[edge.target], edge.table or {}, edge.base)


def build_network(case: Case, task_names: list[str], seed: int) -> MultiTaskNetwork:
    """Build the network for some of the tasks; its backbone starts the same whichever tasks they are.

    Raises:
        ValueError: the backbone does not fit the input.
    """
    tasks = tasks_of(case)
    build = {"mlp": mlp, "small_cnn": small_cnn}[case.network.backbone]
    with drawn_from(seed):
        backbone, features = build(case.input.shape, case.network.widths)
        return MultiTaskNetwork(backbone, features, [tasks[name] for name in task_names])


def build_loss(
    case: Case, task_names: list[str], matching: Matching, priors: Mapping[str, tuple[float, ...]]
) -> JointLoss:
    """Build the objective for some of the tasks: every edge between two of them, with the arm's matching.

    Args:
        case: the case.
        task_names: the tasks that the network serves.
        matching: the arm's.
        priors: by task, of its classes or labels; a multilabel source without a base takes a multiclass target's.
    """
    tasks = tasks_of(case)

    def of(edge: RelatednessEdge) -> Relatedness:
        R = relatedness_of(edge, tasks)
        if R.base is None and isinstance(R.source, Multilabel) and isinstance(R.target, Multiclass):
            R = replace(R, base=torch.tensor(priors[edge.target], dtype=torch.float64))
        return R

    pairs = [
        RelatedPair(
            of(edge),
            DistributionMatching(**matching.dm.model_dump()),
            SoftCoAnnotation(**matching.sca.model_dump(), prior=priors.get(edge.source)),
            ImpliedLikelihood(**matching.ill.model_dump()),
        )
        for edge in case.relatedness
        if edge.source in task_names and edge.target in task_names
    ]
    weights = {name: weight for name, weight in case.training.task_weights.items() if name in task_names}
    return JointLoss([tasks[name] for name in task_names], pairs, weights)
