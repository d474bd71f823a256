"""Train a case with Ray's own verbs, on a Ray that is there or on one that is started for it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.api.cases import load_case
from pipelines.api.result import Result
from pipelines.base.errors import UserError
from pipelines.base.ray_session import is_own_ray, ray_session
from pipelines.batches.measured_scaling import with_measured_scaling
from pipelines.case.case import Case


class Trainer:
    """Ingest, train every arm, evaluate, report: ``Trainer(case).fit()``.

    On a Ray that the program has initialised it works there; else a local one is started, or the cluster of RAY_ADDRESS
    joined, for as long as it fits. Runs that are done are not trained again.

    Args:
        case: a case, or what :func:`pipelines.load_case` takes.
        overrides: as for :func:`pipelines.load_case`.
        fresh: train again what is already trained.
    """

    def __init__(
        self,
        case: Case | str | Path | Mapping[str, Any],
        overrides: Mapping[str, Any] | Sequence[str] = (),
        *,
        fresh: bool = False,
    ) -> None:
        self.case = case if isinstance(case, Case) and not overrides else load_case(case, overrides)
        self.fresh = fresh

    def fit(self) -> Result:
        """Do all of it.

        Raises:
            UserError: the data or this machine cannot be used so.
            pipelines.train.launch.TrainingFailedError: a run failed; what others came to is kept.
        """
        import ray

        from pipelines.case.checks import check_machine
        from pipelines.commands import run as run_commands
        from pipelines.experiment.resume import begun_case

        if is_own_ray() and not ray.is_initialized() and (problems := check_machine(self.case)):
            raise UserError("\n".join(problems))
        with ray_session():
            outcome = run_commands(self.case, self.fresh)
        # As it was trained: with what was measured. What code it names has just run.
        return Result(begun_case(outcome.folder, run_code=True), outcome)


def run(
    case: Case | str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    fresh: bool = False,
) -> Result:
    """Ingest, train every arm, evaluate, and write the report: ``Trainer(case).fit()``; see :class:`Trainer`."""
    return Trainer(case, overrides, fresh=fresh).fit()


def trainable(
    case: Case | str | Path | Mapping[str, Any], arm: str = "co-trained", seeds: Sequence[int] = (0,)
) -> Callable[[dict[str, Any]], None]:
    """Return the function to give to a ``ray.tune.Tuner`` of one's own; ingests the data, on a Ray that is there.

    A trial's configuration holds values by dotted key of the case file (``{"training.optimizer.lr":
    tune.loguniform(1e-4, 1e-2)}``). It trains the arm with every seed and reports ``score``, the mean over tasks and
    seeds of the primary metric on the validation split, and ``scores`` by task; the test split takes no part.

    Args:
        case: a case, or what :func:`pipelines.load_case` takes.
        arm: the arm that is trained.
        seeds: the seeds of a trial.

    Raises:
        UserError: there is no such arm, or a task has no validation data.
    """
    from ray import tune

    from pipelines.ingest.ingest import ingest
    from pipelines.search.trial import TRIAL_RESOURCES, run_case_trial
    from pipelines.search.tune import check_tunable
    from pipelines.use.label_by_models import label_by_models

    loaded = case if isinstance(case, Case) else load_case(case)
    tuning = loaded.tuning.model_copy(update={"arm": arm, "seeds": tuple(seeds)})
    loaded = loaded.model_copy(update={"tuning": tuning})
    check_tunable(loaded, needs_losses=False)
    label_by_models(loaded)
    data_sets = ingest(loaded)
    loaded = with_measured_scaling(loaded, data_sets)
    trial = partial(run_case_trial, case=loaded, data_sets=data_sets.of_split("train", "validation"))
    bound: Callable[[dict[str, Any]], None] = tune.with_resources(trial, TRIAL_RESOURCES)
    return bound
