"""Which runs are used: of an arm, the best seed on the validation split, and what that split says of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from mtlcore import FusionWeights, unitless_metric
from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.blocks.cache import DamagedBlockError
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.evaluate.calibrate import Fitted
from pipelines.evaluate.evaluate import check_trained, fitted_arms, split_tests
from pipelines.evaluate.forward import one_thread
from pipelines.evaluate.predict_split import predict_runs
from pipelines.evaluate.table_arms import fusion_weights, open_readings, with_every_arm
from pipelines.evaluate.task_test import of_arm
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import Run, list_runs


@dataclass(frozen=True)
class Choice:
    """What is asked for.

    Attributes:
        arm: the arm.
        seed: the seed; None for the best.
        task: of an arm with a network for every task, one of them; None for all.
    """

    arm: str
    seed: int | None = None
    task: str | None = None

    @classmethod
    def of(cls, case: Case, arm: str, seed: int | None, task: str | None) -> "Choice":
        """Check what is asked for.

        Raises:
            UserError: there is no such arm, seed or task.
        """
        if arm not in case.arms:
            raise UserError(f"--arm: found {arm!r}, no such arm{did_you_mean(arm, case.arms)}")
        if seed is not None and seed not in case.training.seeds:
            raise UserError(f"--seed: found {seed}; expected one of {', '.join(map(str, case.training.seeds))}")
        if task is not None and case.arms[arm].networks == "shared":
            raise UserError(
                f"--task: found {task!r}, and the arm {arm!r} has one network for all tasks; expected no --task"
            )
        for_use = [name for name in case.tasks_of_arm(arm) if not case.tasks[name].auxiliary]
        if task is not None and task not in for_use:
            raise UserError(f"--task: found {task!r}; expected one of {', '.join(for_use)}")
        return cls(arm, seed, task)

    def runs(self, case: Case, seed: int) -> list[Run]:
        """Return the arm's runs of a seed, in the order of the case's tasks."""
        return [run for run in list_runs(case) if (run.arm, run.seed) == (case.trained_as(self.arm), seed)]

    def check_trained(self, case: Case, data_sets: DataSets) -> None:
        """Refuse to go on where a run that is needed has not been trained.

        Raises:
            UserError: names the runs.
        """
        seeds = case.training.seeds if self.seed is None else (self.seed,)
        check_trained([run for seed in seeds for run in self.runs(case, seed)], experiment_folder(case), data_sets)


@dataclass(frozen=True)
class HeldOut:
    """What the validation split says of an arm and seed.

    Attributes:
        fitted: by task, temperature and thresholds; none of a task without validation labels.
        weights: by task that is predicted through a table, the weights of its parts.
        scores: by task, the primary metric; where that is an error, one without a unit that is better when higher.
    """

    fitted: Mapping[str, Fitted]
    weights: Mapping[str, FusionWeights]
    scores: Mapping[str, float]


def held_out_of(case: Case, data_sets: DataSets, arm: str, seed: int) -> HeldOut:
    """Predict the validation split in this process, by one arm and seed, as evaluation does it.

    Without a validation split, or where its blocks are no longer there, it says nothing of the arm.
    """
    if not case.of_split("validation"):
        return HeldOut({}, {}, {})
    try:
        return _held_out(case, data_sets, arm, seed)
    except DamagedBlockError as error:  # an experiment's folder may have been moved without its blocks
        note(f"{arm}: not calibrated, since the validation split cannot be read: {error}")
        return HeldOut({}, {}, {})


def _held_out(case: Case, data_sets: DataSets, arm: str, seed: int) -> HeldOut:
    alone = _alone(case, arm, seed)
    readings = open_readings(alone, data_sets) if case.arms[arm].reads_the_table else {}
    with one_thread():
        predicted = predict_runs(alone, Choice(arm).runs(alone, seed), data_sets, experiment_folder(case), "validation")
    weights = fusion_weights(alone, predicted, data_sets, readings)
    every_arm = with_every_arm(alone, predicted, readings, weights)
    fitted = fitted_arms(alone, every_arm, data_sets).get(arm, {})
    tests = split_tests(alone, every_arm, data_sets, "validation")
    scores = {}
    for name, scored in metrics_of(case).items():
        if name in tests and (of_seed := of_arm(tests[name], arm)):
            metric = unitless_metric(scored.task) if scored.primary in scored.lower_is_better else scored.primary
            scores[name] = scored.scores(of_seed[0], tests[name].labels)[metric]
    return HeldOut(
        {task: of_seeds[0] for task, of_seeds in fitted.items()},
        {task: of_seeds[0] for task, of_seeds in weights.get(arm, {}).items()},
        scores,
    )


def best_seed(case: Case, data_sets: DataSets, arm: str) -> tuple[int, HeldOut]:
    """Return the seed with the highest mean over tasks of the primary metric on the validation split, and what it says.

    Auxiliary tasks take no part. Without validation labels it is the case's first; the first of equals too.
    """
    seeds = case.training.seeds
    for_use = [name for name, task in tasks_of(case).items() if not task.auxiliary]
    seen: list[HeldOut] = []
    means = []
    for seed in seeds:
        seen.append(held_out_of(case, data_sets, arm, seed))
        if len(seeds) == 1:
            return seed, seen[0]
        scores = seen[-1].scores
        of_use = [scores[name] for name in for_use if name in scores and scores[name] == scores[name]]
        if not of_use:
            note(f"{arm}: no validation labels to choose a seed by; the first, {seeds[0]}, is used")
            return seeds[0], seen[0]
        means.append(sum(of_use) / len(of_use))
    best = means.index(max(means))
    return seeds[best], seen[best]


def _alone(case: Case, arm: str, seed: int) -> Case:
    """Return the case with one arm and seed, and the arm whose networks it uses."""
    arms = {name: case.arms[name] for name in case.arms if name in (arm, case.trained_as(arm))}
    training = case.training.model_copy(update={"seeds": (seed,)})
    return case.model_copy(update={"arms": arms, "training": training})
