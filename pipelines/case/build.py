"""Build tasks, relatedness, losses and balancers from a validated case."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch

from mtlcore import (
    ClassLoss,
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    Multiclass,
    Multilabel,
    MultiTaskNetwork,
    Ordinal,
    PseudoLabelling,
    Regression,
    Relatedness,
    RelatednessTrust,
    RelatedPair,
    ShiftedPriors,
    SoftCoAnnotation,
    Task,
    UnlabelledLoss,
    build_balancer,
    head_features,
    seeded_init,
)
from mtlcore.balancing import Balancer
from mtlcore.losses.objective import MATCHING
from mtlcore.losses.pair_loss import AddedPairLoss, check_pair_loss
from mtlcore.losses.pair_loss_registry import PAIR_LOSSES
from mtlcore.suggestions import did_you_mean
from pipelines.base.section import Section
from pipelines.case.build_network import network_of
from pipelines.case.by_step import largest, value_at
from pipelines.case.case import Case, RelatednessEdge
from pipelines.case.data import (
    ClassLossOptions,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
    TaskSection,
    outputs_of,
)
from pipelines.case.training import Matching
from pipelines.case.unlabelled import Unlabelled


def tasks_of(case: Case) -> dict[str, Task]:
    """Return the case's tasks by name."""
    return {name: _task(name, section) for name, section in case.tasks.items()}


def _task(name: str, section: TaskSection) -> Task:
    match section:
        case MulticlassTask():
            weights = _by_output(section.classes, section.class_weights)
            return Multiclass(
                name, section.classes, section.auxiliary, _class_loss(section.loss, class_weights=weights)
            )
        case MultilabelTask():
            weights = _by_output(section.labels, section.pos_weight)
            return Multilabel(
                name, section.labels, section.auxiliary, _class_loss(section.loss, positive_weights=weights)
            )
        case OrdinalTask():
            return Ordinal(name, section.classes, section.auxiliary, section.loss)
        case RegressionTask():
            return Regression(
                name,
                outputs_of(name, section),
                section.auxiliary,
                loss=section.loss,
                delta=section.delta,
                mean=section.mean or (),
                spread=section.spread or (),
            )


def _by_output(outputs: Sequence[str], weights: str | float | Mapping[str, float] | None) -> tuple[float, ...]:
    """Return a weight an output; none where they are yet to be counted."""
    if isinstance(weights, float | int):
        return (float(weights),) * len(outputs)
    return tuple(weights.get(name, 1.0) for name in outputs) if isinstance(weights, Mapping) else ()


def _class_loss(
    options: ClassLossOptions | None, class_weights: tuple[float, ...] = (), positive_weights: tuple[float, ...] = ()
) -> ClassLoss | None:
    weighs = bool(class_weights or positive_weights)
    if options is None:
        return ClassLoss(class_weights=class_weights, positive_weights=positive_weights) if weighs else None
    gamma = options.gamma if options.gamma is not None else 4.0 if options.kind == "asymmetric" else 2.0
    return ClassLoss(
        options.kind,
        gamma=gamma,
        gamma_positive=options.gamma_positive,
        margin=options.margin,
        smoothing=options.smoothing,
        class_weights=class_weights,
        positive_weights=positive_weights,
    )


def relatedness_of(edge: RelatednessEdge, tasks: dict[str, Task]) -> Relatedness:
    """Return an edge's table as R; one that is yet to be counted is unknown as a whole.

    Raises:
        ValueError: a row or cell is wrong.
    """
    source = tasks[edge.source]
    rows = dict.fromkeys(source.outputs) if edge.table is None else edge.table
    return Relatedness.from_rows(source, tasks[edge.target], rows, edge.base)


def build_network(case: Case, task_names: list[str], seed: int) -> MultiTaskNetwork:
    """Build the network for some of the tasks; its backbone starts the same whichever tasks they are.

    Raises:
        ValueError: the backbone does not fit the input.
    """
    tasks = tasks_of(case)
    with seeded_init(seed):
        return network_of(case.network, case.input.shape, [tasks[name] for name in task_names])


def rebuild_network(case: Case, task_names: list[str]) -> MultiTaskNetwork:
    """Build the network for some of the tasks, for weights that are loaded into it: no file of first weights is read.

    Raises:
        ValueError: the backbone does not fit the input.
    """
    network = case.network
    if network.pretrained_sha256 is not None:  # the weights of a hub go with its model's own sizes
        network = network.model_copy(update={"pretrained": None})
    return build_network(case.model_copy(update={"network": network}), task_names, 0)


def added_losses(matching: Matching) -> tuple[AddedPairLoss, ...]:
    """Return the losses of a matching beside DM, SCA and ILL that have a weight, the largest that they ever have.

    Raises:
        ValueError: there is no such loss; begins with its key below ``matching``.
    """
    losses = []
    for name, settings in matching.added.items():
        if settings.weight:
            try:
                loss = PAIR_LOSSES[settings.kind]
            except ValueError as error:
                raise ValueError(f"{name}.kind: {error}") from None
            losses.append(AddedPairLoss(name, largest(settings.weight), loss, settings.options))
    return tuple(losses)


def check_added_losses(case: Case, matching: Matching) -> None:
    """Try the losses of one's own on every edge.

    Raises:
        ValueError: one cannot be found, or is not as the protocol has it; begins with its key below ``matching``.
    """
    tasks = tasks_of(case)
    for added in added_losses(matching):
        for edge in case.relatedness:
            check_pair_loss(added, relatedness_of(edge, tasks))


def build_loss(
    case: Case, task_names: list[str], matching: Matching | Literal["none"], priors: Mapping[str, tuple[float, ...]]
) -> JointLoss:
    """Build the objective for some of the tasks: every edge between two of them, with the arm's matching.

    What changes with the step has its largest weight, so that every loss that ever takes part is there, and the
    temperature of the first step; :class:`pipelines.train.loss_by_step.LossByStep` has those of later ones.

    Args:
        case: the case.
        task_names: the tasks that the network serves.
        matching: the arm's; with ``none`` there are no related pairs, so that no loss of theirs can take part.
        priors: by task, of its classes or labels; a multilabel source without a base takes a multiclass target's.
    """
    tasks = tasks_of(case)

    def with_base(edge: RelatednessEdge) -> Relatedness:
        R = relatedness_of(edge, tasks)
        if (
            R.base is None
            and edge.target in priors
            and isinstance(R.source, Multilabel)
            and isinstance(R.target, Multiclass)
        ):
            R = replace(R, base=torch.tensor(priors[edge.target], dtype=torch.float64))
        return R

    pairs = (
        []
        if not isinstance(matching, Matching)
        else [
            RelatedPair(
                with_base(edge),
                _weighed(DistributionMatching(**_numbers(matching.dm)), edge),
                _weighed(SoftCoAnnotation(**_numbers(matching.sca) | {"prior": priors.get(edge.source)}), edge),
                _weighed(ImpliedLikelihood(**_numbers(matching.ill)), edge),
                tuple(_weighed(loss, edge) for loss in added_losses(matching) if edge.weight),
            )
            for edge in case.relatedness
            if edge.source in task_names and edge.target in task_names
        ]
    )
    weights = {name: largest(weight) for name, weight in case.training.task_weights.items() if name in task_names}
    return JointLoss([tasks[name] for name in task_names], pairs, weights)


_Loss = TypeVar("_Loss", DistributionMatching, SoftCoAnnotation, ImpliedLikelihood, AddedPairLoss)


def _weighed(loss: _Loss, edge: RelatednessEdge) -> _Loss:
    """Return a pair's loss with the weight of the pair."""
    return loss if edge.weight == 1 else replace(loss, weight=loss.weight * largest(edge.weight))


def _numbers(settings: Section) -> dict[str, Any]:
    """Return a loss's settings with a number for each that changes with the step."""
    content = settings.model_dump()
    return {
        key: largest(value) if key == "weight" else value_at(value, 0) if isinstance(value, dict) else value
        for key, value in content.items()
    }


def weights_at(case: Case, matching: Matching | Literal["none"], joint_loss: JointLoss, step: int) -> list[float]:
    """Return what the parts of an arm's objective weigh in a step, in the order of ``joint_loss.part_names``.

    Args:
        case: the case as the arm has it.
        matching: the arm's.
        joint_loss: as :func:`build_loss` has built it of both.
        step: counted from 0.
    """
    of_tasks = case.training.task_weights
    weights = {task.name: value_at(of_tasks.get(task.name, 1.0), step) for task in joint_loss.tasks}
    edges = {(edge.source, edge.target): value_at(edge.weight, step) for edge in case.relatedness}
    if isinstance(matching, Matching):
        for pair in joint_loss.pairs:
            A, B = pair.relatedness.source.name, pair.relatedness.target.name
            for kind, weight in matching.weights.items():
                value = value_at(weight, step) * edges[A, B]
                weights |= {f"{kind}:{A}->{B}": value, f"{kind}:{B}->{A}": value}
    return [weights[name] for name in joint_loss.part_names]


def build_shifted_priors(
    matching: Matching | Literal["none"], joint_loss: JointLoss, priors: Mapping[str, tuple[float, ...]]
) -> ShiftedPriors | None:
    """Build the running estimate of class priors among other tasks' inputs; None where nothing reads it."""
    if not isinstance(matching, Matching) or matching.sca.prior == "labels" or not matching.sca.weight:
        return None
    tables = [pair.relatedness for pair in joint_loss.pairs if isinstance(pair.relatedness.source, Multiclass)]
    tables = [R for R in tables if R.source.name in priors]
    return ShiftedPriors(tables, priors) if tables else None


def build_unlabelled(
    settings: Unlabelled, joint_loss: JointLoss, priors: Mapping[str, tuple[float, ...]]
) -> UnlabelledLoss | None:
    """Build what rows teach the tasks that they are not labelled for; None where neither loss has a weight.

    Args:
        settings: the arm's.
        joint_loss: the arm's; pseudo-labels look at the tables that it has a loss for.
        priors: by task, of its classes or labels.
    """
    if not settings.has_losses:
        return None
    return UnlabelledLoss(
        joint_loss.tasks,
        [pair.relatedness for pair in joint_loss.pairs if pair.has_loss],
        pseudo=PseudoLabelling(**settings.pseudo_labels.model_dump(exclude={"read_from"})),
        consistency=settings.consistency.weight,
        priors={task.name: priors[task.name] for task in joint_loss.tasks if task.name in priors},
    )


def build_trust(
    network: MultiTaskNetwork, joint_loss: JointLoss, annotated: Mapping[str, int] | None = None
) -> RelatednessTrust | None:
    """Build the estimate of how far the objective's tables are borne out; None where it uses none.

    ``annotated``: by task, the training rows that are annotated for it.
    """
    tables = [pair.relatedness for pair in joint_loss.pairs if pair.has_loss]
    return RelatednessTrust(tables, head_features(network.heads), annotated) if tables else None


def build_balancing(
    case: Case,
    arm: str,
    joint_loss: JointLoss,
    shared: Iterable[torch.Tensor],
    others: Iterable[torch.Tensor],
    seed: int,
) -> Balancer:
    """Build an arm's balancing of a joint loss.

    Numbers by objective that a loss does not have are left out: those of other tasks, where a network serves one
    alone, and ``matching``, where an arm does not use related pairs.

    Raises:
        ValueError: there is no such method, option, task or objective, or a value is wrong.
    """
    settings = case.arms[arm].balancing or case.training.balancing
    options = settings.all_options()
    for option, value in options.items():
        if isinstance(value, dict):
            for name in value:
                if name not in (valid := [*case.tasks, MATCHING]):
                    raise ValueError(f"{option}: found {name!r}, no such objective{did_you_mean(name, valid)}")
            options[option] = {name: value[name] for name in value if name in joint_loss.objective_names}
    return build_balancer(settings.method, joint_loss.objective_names, shared, others, seed=seed, **options)
