"""Hyperparameter search with Ray Tune over a search space of tune_spaces, scored on the validation split.

A trial is one TorchTrainer over the seeds of ``tuning``, for the one arm that is tuned. Its score is the mean over
the tasks that are not auxiliary, and over seeds, of the primary metric on the validation split.
"""

import contextlib
import io
import json
import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from pipelines.base.errors import UserError
from pipelines.base.fingerprint import fingerprint
from pipelines.base.progress import bar
from pipelines.base.ray_session import is_own_ray
from pipelines.base.ray_storage import ray_storage
from pipelines.base.storage import join, write_whole
from pipelines.base.terminal import as_text
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.case.load import as_yaml
from pipelines.case.search_spaces import load_space
from pipelines.case.training import Matching
from pipelines.experiment.layout import experiment_folder
from pipelines.search.settings import current_values, with_settings
from pipelines.train.launch import trainers_that_fit

# A trial only starts a trainer and waits for it: the processors are for the trainer's workers. Ray wants a trial to
# ask for something.
TRIAL_RESOURCES = {"CPU": 0, "memory": 1 << 20}


@dataclass(frozen=True)
class Trial:
    """A configuration that was tried.

    Attributes:
        settings: by key of ``training.matching``.
        score: the mean over tasks and seeds.
        scores: by task, the mean over seeds.
    """

    settings: dict[str, float]
    score: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Tuned:
    """What a search found: its trials, the best first, and the case file with the best."""

    trials: list[Trial]
    case_file: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program."""
        return {"best_case": self.case_file, "trials": [vars(trial) for trial in self.trials]}

    def table(self) -> str:
        """Return the trials as a table, the best first."""
        table = Table(title=f"{len(self.trials)} trials, scored on the validation split", title_justify="left")
        names, tasks = list(self.trials[0].settings), list(self.trials[0].scores)
        for name in ["score", *tasks, *names]:
            table.add_column(name, justify="right")
        for trial in self.trials:
            scores = [trial.score, *(trial.scores.get(task, math.nan) for task in tasks)]
            table.add_row(*(f"{value:.4f}" for value in scores), *(f"{trial.settings[n]:.3g}" for n in names))
        return as_text(table, width=120)


def tune(case: Case, data_sets: DataSets, verbose: bool = False) -> Tuned:
    """Run the search of ``case.tuning``; needs a running Ray.

    The first trial is the case as it stands, so that what is found is at least as good on the validation split.

    Raises:
        UserError: a task has no validation data, or the arm to tune is not there.
        RuntimeError: every trial failed.
    """
    from ray import tune as ray_tune

    from pipelines.search.trial import TrialCounter, run_trial

    check_tunable(case)
    tuning_sets = data_sets.of_split("train", "validation")
    folder = join(experiment_folder(case), "tuning", fingerprint(case.tuning.model_dump(mode="json")))
    space = load_space(case.tuning.space)
    with bar("tune", case.tuning.trials, "trials") as shown:
        shown.show(0)
        tuner = ray_tune.Tuner(
            ray_tune.with_resources(
                ray_tune.with_parameters(
                    run_trial, case=case, data_sets=tuning_sets, folder=folder, alone=is_own_ray()
                ),
                TRIAL_RESOURCES,
            ),
            param_space=space,
            tune_config=search_plan(case, space, trainers_that_fit(case)),
            run_config=ray_tune.RunConfig(
                **ray_storage(folder), name="search", verbose=0, callbacks=[TrialCounter(shown)]
            ),
        )
        with contextlib.redirect_stdout(sys.stderr if verbose else io.StringIO()):  # Ray Tune prints in any case
            grid = tuner.fit()
    trials = [
        Trial(dict(result.config or {}), float(result.metrics["score"]), dict(result.metrics["scores"]))
        for result in grid
        if result.error is None and result.metrics and "score" in result.metrics
    ]
    if not trials:
        raise RuntimeError(f"every trial failed; the first: {grid.errors[0] if grid.errors else 'no result'}")
    trials.sort(key=lambda trial: -trial.score)
    best = with_settings(case, trials[0].settings)
    write_whole(join(folder, "trials.json"), json.dumps([vars(trial) for trial in trials], indent=1))
    file = join(folder, f"{case.name}-tuned.yaml")
    note = f"# The best of {len(trials)} trials over the space {case.tuning.space!r}, scored on the validation split.\n"
    write_whole(file, note + as_yaml(best))
    return Tuned(trials, file)


def search_plan(case: Case, space: dict[str, Any], at_once: int | None) -> Any:
    """Return the TuneConfig of a search: which settings are tried follows from ``tuning.search_seed`` alone.

    Args:
        case: the case that is tuned.
        space: the search space, by key of ``training.matching``.
        at_once: how many trials may run at the same time; None: as many as the cluster has room for.
    """
    from ray import tune as ray_tune
    from ray.tune.search import BasicVariantGenerator

    return ray_tune.TuneConfig(
        metric="score",
        mode="max",
        num_samples=case.tuning.trials,
        max_concurrent_trials=at_once,
        search_alg=BasicVariantGenerator(
            points_to_evaluate=[current_values(case, space)],
            random_state=np.random.RandomState(case.tuning.search_seed),
            max_concurrent=at_once or 0,
        ),
    )


def check_tunable(case: Case, *, needs_losses: bool = True) -> None:
    """Raise UserError where the search cannot be: no such arm, one without a loss to weigh, no validation data.

    ``needs_losses``: whether it is the losses of related tasks that are searched.
    """
    from mtlcore.suggestions import did_you_mean

    if case.tuning.arm not in case.arms:
        raise UserError(f"tuning.arm: found {case.tuning.arm!r}, no such arm{did_you_mean(case.tuning.arm, case.arms)}")
    if needs_losses and not isinstance(case.arms[case.tuning.arm].matching, Matching):
        raise UserError(
            f"tuning.arm: found {case.tuning.arm!r}, an arm with matching: none; expected one with losses of related "
            "tasks, whose weights are searched"
        )
    for task in case.tasks:
        if not any(task in data_set.labels for data_set in case.of_split("validation").values()):
            raise UserError(
                f"datasets: found none of split 'validation' labelled for task {task!r}; "
                "expected one: `kindred tune` scores on it, and never on the test split"
            )
