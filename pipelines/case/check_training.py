"""Checks of the section training, and of what an arm has in the place of it."""

from collections.abc import Iterator

from mtlcore import metric_names
from pipelines.case.case import Case
from pipelines.case.data import (
    VectorInput,
)
from pipelines.case.problems import no_such
from pipelines.case.training import Matching, Mixing, SharesMixing
from pipelines.case.unlabelled import StrongView
from pipelines.optimization.optimizer import check_optimizer
from pipelines.optimization.schedule import check_schedule


def check_training(case: Case) -> Iterator[str]:
    """Say what is wrong with the section training, but for what has a check of its own."""
    training, train_sets = case.training, case.of_split("train")
    yield from check_mixing("training", case, training.mixing)
    yield from _augmentation(case)
    for name in training.task_weights:
        if name not in case.tasks:
            yield no_such("training.task_weights", "task", name, case.tasks)
    if training.batch_size < max(len(train_sets), training.max_workers):
        yield (
            f"training.batch_size: found {training.batch_size}; expected at least one row for each of "
            f"{len(train_sets)} datasets and {training.max_workers} workers"
        )
    if training.batch_size < training.max_workers * training.accumulate:
        yield (
            f"training.accumulate: found {training.accumulate} pieces for each of {training.max_workers} workers, and "
            f"a batch of {training.batch_size} rows; expected a row for each at least"
        )
    for section, seeds in (("training", training.seeds), ("tuning", case.tuning.seeds)):
        if len(set(seeds)) != len(seeds):
            yield f"{section}.seeds: found {list(seeds)}; expected every seed once"
    yield from _schedule(case)
    yield from _optimizer(case)


def check_mixing(section: str, case: Case, mixing: Mixing) -> Iterator[str]:
    """Say what is wrong with the shares of a batch."""
    train_sets = case.of_split("train")
    if isinstance(mixing, SharesMixing):
        for name in mixing.shares:
            if name not in train_sets:
                yield no_such(f"{section}.mixing", "dataset of split train", name, train_sets)
        for name in train_sets:
            if name not in mixing.shares:
                yield f"{section}.mixing: {name!r} is missing; expected a share for every training dataset"


def _schedule(case: Case) -> Iterator[str]:
    for problem in check_schedule(case.training.schedule, case.training.steps):
        yield f"training.schedule.{problem}"


def _optimizer(case: Case) -> Iterator[str]:
    try:
        check_optimizer(case.training.optimizer)
    except ValueError as error:
        yield f"training.optimizer.{error}"


def check_validation(case: Case) -> Iterator[str]:
    """Say what is wrong with validation during training, and with what is chosen by it."""
    from pipelines.case.build import tasks_of

    training, labelled = case.training, case.of_split("validation").values()
    if training.validation.every_steps is None:
        for key in ("best", "early_stopping"):
            if getattr(training, key) is not None:
                yield f"training.{key}: found, and no training.validation.every_steps; expected how often to validate"
        return
    if not labelled:
        yield "training.validation.every_steps: found, and no dataset of split 'validation'; expected one"
        return
    if training.best is None or training.best.metric == "mean":
        return
    task, dot, metric = training.best.metric.partition(".")
    if task not in case.tasks:
        yield no_such("training.best.metric", "task", task, ["mean", *case.tasks])
    elif not any(task in data_set.labels for data_set in labelled):
        yield (
            f"training.best.metric: found {task!r}, and no dataset of split 'validation' is labelled for it; "
            "expected one"
        )
    elif dot and metric not in (metrics := [*metric_names(tasks_of(case)[task]), *_own_metrics(case, task)]):
        yield no_such("training.best.metric", "metric", metric, metrics)


def _own_metrics(case: Case, task: str) -> list[str]:
    settings = case.evaluation.metrics.get(task)
    names = [*settings.add, settings.primary or ""] if settings else []
    return [name.rpartition(":")[2] for name in names if name]


def _augmentation(case: Case) -> Iterator[str]:
    settings, key = case.training.augmentation, "training.augmentation"
    if isinstance(case.input, VectorInput):
        if settings.of_pictures:
            yield f"{key}: found {', '.join(settings.of_pictures)}; inputs are vectors; expected mixup alone"
    elif settings.crop >= (least := min(case.input.height, case.input.width)):
        yield f"{key}.crop: found {settings.crop}; expected less than {least}, the image's size, for this margin"


def check_pair_losses(case: Case) -> Iterator[str]:
    """Say which losses of related tasks do not suit the pairs that there are."""
    from pipelines.case.build import check_added_losses

    reported: set[str] = set()
    for name, arm in case.arms.items():
        if not isinstance(arm.matching, Matching):
            continue
        section = "training" if arm.matching == case.training.matching else f"arms.{name}"
        try:
            check_added_losses(case, arm.matching)
        except ValueError as error:
            if str(error) not in reported:
                reported.add(str(error))
                yield f"{section}.matching.{error}"


def check_warm_up(case: Case) -> Iterator[str]:
    """Couplings that rise look like a loss that does not fall to a method that compares losses."""
    from mtlcore.balancing import balancing_class

    for name, arm in case.arms.items():
        if not isinstance(arm.matching, Matching) or not (steps := arm.matching.warmup_steps):
            continue
        in_training = arm.matching.warmup_steps == case.training.matching.warmup_steps
        key = f"{'training' if in_training else f'arms.{name}'}.matching.warmup_steps: found {steps}"
        if steps >= case.training.steps:
            yield f"{key}; expected fewer than training.steps, {case.training.steps}"
        method = (arm.balancing or case.training.balancing).method
        if balancing_class(method).reads_progress:
            yield (
                f"{key}, and balancing {method!r} compares losses, which rising weights change; "
                f"expected 0, or {methods_beside_changes()}"
            )
            return


def methods_beside_changes() -> str:
    """Say which methods of balancing are not misled by weights that change as a run trains."""
    from mtlcore.balancing import BALANCERS, balancing_class

    able = [known for known in BALANCERS.built_in if not balancing_class(known).reads_progress]
    return f"{', '.join(able)} or a method of gradients"


_OF_VECTORS = ("noise", "dropout")


def check_unlabelled(case: Case) -> Iterator[str]:
    """Say what is wrong with the losses of inputs without labels."""
    sections = {"training.unlabelled": case.training.unlabelled}
    sections |= {f"arms.{name}.unlabelled": arm.unlabelled for name, arm in case.arms.items() if arm.unlabelled}
    for key, section in sections.items():
        if section.has_average and case.training.shard:
            yield f"{key}: found something that reads the moving average, and training.shard too; expected one of them"
        if not section.has_losses:
            continue
        if case.training.augmentation.mixup:
            yield f"{key}: found a weight, and training.augmentation.mixup too, whose inputs are no row's; expected one"
        if section.warmup_steps >= case.training.steps:
            yield (
                f"{key}.warmup_steps: found {section.warmup_steps}; expected fewer than training.steps, "
                f"{case.training.steps}"
            )
        if section.pseudo_labels.relatedness != "ignore" and not case.relatedness:
            yield (
                f"{key}.pseudo_labels.relatedness: found {section.pseudo_labels.relatedness!r}, and there is no "
                "relatedness; expected an edge, or 'ignore'"
            )
        yield from _strong_view(case, f"{key}.strong", section.strong)


def _strong_view(case: Case, key: str, strong: StrongView) -> Iterator[str]:
    vectors = isinstance(case.input, VectorInput)
    wrong = sorted(name for name in strong.model_fields_set if (name in _OF_VECTORS) != vectors)
    kind = "vectors" if vectors else "images"
    if wrong:
        right = [name for name in StrongView.model_fields if (name in _OF_VECTORS) == vectors]
        yield f"{key}: found {', '.join(wrong)}; inputs are {kind}; expected {', '.join(right)}"
        return
    view = strong.over(case.training.augmentation)
    altered = (strong.noise or strong.dropout) if vectors else view.of_pictures
    if not altered:
        yield f"{key}: found nothing that alters {kind}; expected a view that differs from the weak one"
    if not isinstance(case.input, VectorInput) and view.crop >= (least := min(case.input.height, case.input.width)):
        yield f"{key}.crop: found {view.crop}; expected less than {least}, the image's size, for this margin"
