"""One trial of somebody's own search with Ray Tune: train an arm, score it on the validation split, report."""

import uuid
from typing import Any

import numpy as np
from ray import tune

from pipelines.base.fingerprint import fingerprint
from pipelines.base.storage import join
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.evaluate.evaluate import check_trained, split_tests
from pipelines.evaluate.predict_split import predict_runs
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import list_runs
from pipelines.search.settings import with_case_settings
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.trainer import group_trainer

# A trial only starts a trainer and waits for it: the processors are for the trainer's workers. Ray wants a trial to
# ask for something.
TRIAL_RESOURCES = {"CPU": 0, "memory": 1 << 20}


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
    arms = {tried.tuning.arm: tried.arms[tried.tuning.arm]}
    tried = tried.model_copy(
        update={"arms": arms, "training": tried.training.model_copy(update={"seeds": tried.tuning.seeds})}
    )
    runs = list_runs(tried)
    group_trainer(WorkerAssignment(tried, tuple(runs), data_sets, place, uuid.uuid4().hex), "trial", alone=False).fit()
    check_trained(runs, place, data_sets)
    tests = split_tests(tried, predict_runs(tried, runs, data_sets, place, "validation"), data_sets, "validation")
    scores = {}
    for name, metrics in metrics_of(tried).items():
        test = tests[name]
        of_seeds = [metrics.scores(logits, test.labels)[metrics.unitless] for logits in test.logits.values()]
        scores[name] = float(np.mean(of_seeds))
    for_use = [scores[name] for name, task in tasks_of(tried).items() if not task.auxiliary]
    tune.report({"score": float(np.mean(for_use)), "scores": scores})
