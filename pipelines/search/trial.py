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
from pipelines.experiment.run import list_runs
from pipelines.search.settings import with_settings
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
    tried = with_settings(case, settings)
    arms = {case.tuning.arm: tried.arms[case.tuning.arm]}
    tried = tried.model_copy(
        update={"arms": arms, "training": tried.training.model_copy(update={"seeds": case.tuning.seeds})}
    )
    runs = list_runs(tried)
    place = join(folder, "trials", fingerprint(settings))
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
