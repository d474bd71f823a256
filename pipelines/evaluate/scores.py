"""Score every arm on the test split, beside the baseline and beside the best of the arms that need no co-training."""

from collections.abc import Mapping, Sequence

import torch

from mtlcore import (
    Task,
    is_at_chance,
    paired_difference,
)
from pipelines.base.progress import bar
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.evaluate.by_output import scores_by_output
from pipelines.evaluate.calibrate import Fitted, calibration_result
from pipelines.evaluate.results import AgainstBest, Difference, TaskResult
from pipelines.evaluate.task_test import TaskTest, of_arm, or_null


def score_arms(
    case: Case,
    tested: Mapping[str, TaskTest],
    unseen: Mapping[str, Sequence[str]],
    fitted: Mapping[str, Mapping[str, list[Fitted]]],
) -> dict[str, dict[str, TaskResult]]:
    """Return every arm's result on every task that it serves and that there are labels to test on for.

    Args:
        case: the case.
        tested: by task, with every arm's logits.
        unseen: by multiclass task, the classes without a labelled training input.
        fitted: calibrations by arm and task, seed by seed; empty where there are no validation labels.
    """
    tasks, by_task = tasks_of(case), {}
    with bar("evaluate", len(case.arms) * len(tasks), "scores") as shown:
        for name, task in tasks.items():
            if name in tested:
                of_arms = {arm: of_tasks.get(name, []) for arm, of_tasks in fitted.items()}
                by_task[name] = _score_task(case, task, tested[name], unseen.get(name, ()), of_arms)
            shown.show(len(by_task) * len(case.arms))
    return {arm: {name: of[arm] for name, of in by_task.items() if arm in of} for arm in case.arms}


def _score_task(
    case: Case, task: Task, test: TaskTest, unseen: Sequence[str], fitted: Mapping[str, list[Fitted]]
) -> dict[str, TaskResult]:
    settings = case.evaluation
    scored = metrics_of(case)[task.name]
    primary = scored.primary
    is_error = primary in scored.lower_is_better

    def difference(arm: str, baseline: str) -> Difference:
        interval = paired_difference(
            of_arm(test, arm), of_arm(test, baseline), test.labels, task,
            replicates=settings.replicates, confidence=settings.confidence,
            metric=scored.metric,
        )  # fmt: skip
        return Difference(value=interval.value, low=interval.low, high=interval.high, lower_is_better=is_error)

    arms = [arm for arm in case.arms if task.name in case.tasks_of_arm(arm)]
    metrics = {arm: [scored.scores(z, test.labels) for z in of_arm(test, arm)] for arm in arms}
    baselines = [arm for arm in arms if case.arms[arm].is_baseline]
    at_chance = {
        arm
        for arm in {*baselines, settings.baseline} & set(arms)
        if is_at_chance(
            of_arm(test, arm),
            test.labels,
            task,
            replicates=settings.replicates,
            confidence=settings.confidence,
            metric=scored.metric,
        )
    }
    useful = [arm for arm in baselines if arm not in at_chance]
    sign = -1 if is_error else 1
    best = max(useful, key=lambda arm: sign * sum(of_seed[primary] for of_seed in metrics[arm]), default=None)
    results = {}
    for arm in arms:
        compared = arm != settings.baseline and settings.baseline in arms and settings.baseline not in at_chance
        against = None
        if best is not None and arm not in baselines:
            gained = difference(arm, best)
            against = AgainstBest(baseline=best, difference=gained, verdict=gained.verdict)
        results[arm] = TaskResult(
            primary_metric=primary,
            lower_is_better=is_error,
            metrics={metric: [or_null(of_seed[metric]) for of_seed in metrics[arm]] for metric in metrics[arm][0]},
            difference=difference(arm, settings.baseline) if compared else None,
            at_chance=arm in at_chance,
            against_best=against,
            unseen_recall=_unseen_recall(task, test, arm, unseen),
            by_output=scores_by_output(task, of_arm(test, arm), test.labels, fitted.get(arm, ())),
            calibration=calibration_result(task, test, arm, fitted.get(arm, [])),
        )
    return results


def _unseen_recall(task: Task, test: TaskTest, arm: str, unseen: Sequence[str]) -> list[float | None] | None:
    if not unseen:
        return None
    never = set(unseen)
    places = [i for i, name in enumerate(task.outputs) if name in never]
    is_unseen = torch.isin(test.labels, torch.tensor(places))
    return [or_null(float((z.argmax(dim=1) == test.labels)[is_unseen].double().mean())) for z in of_arm(test, arm)]
