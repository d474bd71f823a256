"""One trial of a search: train the tuned arm with some settings, score it on the validation split."""

import uuid
from typing import Any

import numpy as np
from ray import tune

from pipelines.base.fingerprint import fingerprint
from pipelines.base.progress import Bar
from pipelines.base.storage import join
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.evaluate.evaluate import check_trained, predict_runs, split_tests
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import list_runs
from pipelines.search.settings import with_case_settings, with_settings
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.trainer import group_trainer


def run_trial(settings: dict[str, float], case: Case, data_sets: DataSets, folder: str, alone: bool) -> None:
    """Train and score one configuration: the function that Ray Tune calls.

    Args:
        settings: by key of an arm's ``matching``.
        case: the case that is tuned.
        data_sets: without the test split.
        folder: of the search; a trial has a folder of its own below it.
        alone: whether Ray is the command's own.
    """
    _train_and_score(with_settings(case, settings), data_sets, join(folder, "trials", fingerprint(settings)), alone)


def run_case_trial(settings: dict[str, Any], case: Case, data_sets: DataSets) -> None:
    """Train and score one configuration of somebody's own search.

    Args:
        settings: values by dotted key of the case file.
        case: the case that is tuned.
        data_sets: without the test split.

    Raises:
        UserError: there is no such key, or a value is wrong.
    """
    tried = with_case_settings(case, settings)
    place = join(experiment_folder(case), "tuning", "trials", fingerprint(settings))
    _train_and_score(tried, data_sets, place, alone=False)


def _train_and_score(tried: Case, data_sets: DataSets, place: str, alone: bool) -> None:
    arms = {tried.tuning.arm: tried.arms[tried.tuning.arm]}
    tried = tried.model_copy(
        update={"arms": arms, "training": tried.training.model_copy(update={"seeds": tried.tuning.seeds})}
    )
    runs = list_runs(tried)
    group_trainer(WorkerAssignment(tried, tuple(runs), data_sets, place, uuid.uuid4().hex), "trial", alone=alone).fit()
    check_trained(runs, place, data_sets)
    tests = split_tests(tried, predict_runs(tried, runs, data_sets, place, "validation"), data_sets, "validation")
    scores = {}
    for name, metrics in metrics_of(tried).items():
        test = tests[name]
        of_seeds = [metrics.scores(logits, test.labels)[metrics.unitless] for logits in test.logits.values()]
        scores[name] = float(np.mean(of_seeds))
    for_use = [scores[name] for name, task in tasks_of(tried).items() if not task.auxiliary]
    tune.report({"score": float(np.mean(for_use)), "scores": scores})


class TrialCounter(tune.Callback):  # type: ignore[misc]
    """Move a bar when a trial ends. Ray saves its callbacks; the bar stays behind."""

    def __init__(self, shown: Bar | None) -> None:
        self._shown = shown
        self._done = 0

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        """Count one more."""
        self._done += 1
        if self._shown is not None:
            self._shown.show(self._done)

    def __getstate__(self) -> dict[str, Any]:
        return {"_shown": None, "_done": self._done}
