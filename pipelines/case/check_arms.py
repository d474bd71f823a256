"""Checks of arms, of their evaluation, and of a search."""

from collections.abc import Iterator

from mtlcore import metric_names
from pipelines.case.case import Arm, Case, Tuning
from pipelines.case.check_data import check_source
from pipelines.case.check_network import check_warm_start
from pipelines.case.check_population import check_population
from pipelines.case.check_training import check_mixing
from pipelines.case.data import (
    MulticlassTask,
    PictureInput,
)
from pipelines.case.problems import no_such
from pipelines.case.search_spaces import SEARCHERS, check_space


def check_arms(case: Case) -> Iterator[str]:
    """Say what is wrong with arms, with what they are compared by, and with verification."""
    if case.evaluation.baseline not in case.arms:
        yield no_such("evaluation.baseline", "arm", case.evaluation.baseline, case.arms)
    for name, arm in case.arms.items():
        if arm.infer == "table" and arm.fuse is not None:
            yield f"arms.{name}: found both 'infer: table' and 'fuse: table'; expected one of them"
        yield from _own_settings(case, name, arm)
        readable = any(isinstance(case.tasks.get(edge.source), MulticlassTask) for edge in case.relatedness)
        if arm.reads_the_table and not readable:
            yield f"arms.{name}: reads a table, and no relatedness edge leads from a multiclass task; expected one"
    yield from check_warm_start(case)
    if case.evaluation.main_task is not None and case.evaluation.main_task not in case.tasks:
        yield no_such("evaluation.main_task", "task", case.evaluation.main_task, case.tasks)
    yield from _verification(case)


def _own_settings(case: Case, name: str, arm: Arm) -> Iterator[str]:
    """Say what is wrong with what an arm has in the place of the case's own settings."""
    key = f"arms.{name}"
    for what in ("tasks", "shuffle", "task_weights"):
        for task in getattr(arm, what) or ():
            if task not in case.tasks:
                yield no_such(f"{key}.{what}", "task", task, case.tasks)
    if arm.tasks == ():
        yield f"{key}.tasks: found none; expected one at least, or no such key for all"
    served = case.tasks_of_arm(name)
    for task in arm.shuffle:
        if task in case.tasks and task not in served:
            yield f"{key}.shuffle: found {task!r}, which the arm does not serve; expected one of {', '.join(served)}"
    if arm.mixing is not None:
        yield from check_mixing(key, case, arm.mixing)
    if arm.reads_the_table and arm.tasks is not None:
        for edge in case.relatedness:
            missing = {edge.source, edge.target} - set(served)
            if edge.source in served and missing:
                yield f"{key}.tasks: {', '.join(missing)} is missing, from which the table is read backwards"


def _verification(case: Case) -> Iterator[str]:
    settings, key = case.evaluation.verification, "evaluation.verification"
    if settings is None:
        return
    if settings.task not in case.tasks:
        yield no_such(f"{key}.task", "task", settings.task, case.tasks)
    yield from check_source(case, f"{key}.source", settings.source)
    crop = settings.crop if settings.crop is not None else isinstance(case.input, PictureInput) and case.input.crop
    if settings.source.labels_in_folders and crop:
        yield (
            f"{key}.source: found kind {settings.source.kind!r}, which has no columns, and a part of each image is "
            "taken by columns (input.crop); expected a table with them, or crop: false where images are cropped already"
        )
    if settings.crop and not isinstance(case.input, PictureInput):
        yield f"{key}.crop: found with inputs that are vectors; expected it with images"
    if settings.source.labels_in_folders and settings.column != "folder":
        yield f"{key}.column: found {settings.column!r} for images in folders; expected folder"
    if case.folds:
        yield f"{key}: found beside folds, each of which has networks of its own; expected one of the two"


def check_metrics(case: Case) -> Iterator[str]:
    """Say what is wrong with the metrics of tasks."""
    from pipelines.case.metrics import metrics_of

    for name in case.evaluation.metrics:
        if name not in case.tasks:
            yield no_such("evaluation.metrics", "task", name, case.tasks)
    try:
        metrics_of(case)
    except ValueError as error:
        yield f"evaluation.metrics.{error}"


def check_tuning(case: Case) -> Iterator[str]:
    """Say what is wrong with what a search is asked for."""
    from pipelines.case.build import tasks_of

    tuning = case.tuning
    if tuning.arm not in case.arms and tuning.arm != Tuning().arm:
        # The default arm may be missing from a case that is never tuned; `kindred tune` checks it.
        yield no_such("tuning.arm", "arm", tuning.arm, case.arms)
    try:
        check_space(tuning.space, case, tuning.arm)
    except ValueError as error:
        yield f"tuning.space: {error}"
    objectives = ("safe", "mean", "delta_m", "pareto", *case.tasks)
    task, _, metric = tuning.objective.partition(".")
    if tuning.objective not in objectives and task not in case.tasks:
        yield no_such("tuning.objective", "objective", tuning.objective, objectives)
    elif metric and metric not in (known := metric_names(tasks_of(case)[task])):
        added = case.evaluation.metrics.get(task)
        if metric not in [name.rpartition(":")[2] for name in (added.add if added else ())]:
            yield no_such("tuning.objective", f"metric of task {task!r}", metric, known)
    try:
        SEARCHERS.check_name(tuning.search)
    except ValueError as error:
        yield f"tuning.search: {error}"
    if tuning.search == "pbt":
        yield from check_population(case)
    elif tuning.perturb_every is not None:
        yield f"tuning.perturb_every: found {tuning.perturb_every} and tuning.search {tuning.search!r}; expected pbt"
    validates = case.training.validation.every_steps is not None
    if tuning.scheduler not in (None, "none") and not validates:
        yield (
            f"tuning.scheduler: found {tuning.scheduler!r}, and training.validation.every_steps is not set; expected "
            "trials that validate as they train, or none"
        )
