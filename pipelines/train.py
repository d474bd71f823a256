"""Train every run of a case with Ray Train.

Starting a group of workers costs seconds, a short run less. So a case's runs are dealt over as many groups as fit
the cluster at once and are worth their start, each a TorchTrainer whose workers train run after run.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.batches import mixing_plan, training_sizes
from pipelines.case import Case
from pipelines.counted_edges import check_counted
from pipelines.errors import UserError
from pipelines.layout import experiment_folder
from pipelines.manifest import Manifest
from pipelines.metrics_log import check_wandb
from pipelines.progress import Bar, bar
from pipelines.runs import Run, is_done, list_runs
from pipelines.train_loop import Work, train_runs

# Ray Train starts six processes for a group, which takes as long as so many steps of a small network.
_STEPS_WORTH_A_GROUP = 1000


class TrainingFailedError(Exception):
    """A run failed; the message says which and why."""


def train(case: Case, data_sets: Mapping[str, tuple[str, Manifest]], fresh: bool = False) -> int:
    """Train the runs of a case that are not done; needs a running Ray.

    Args:
        case: the case.
        data_sets: folder and manifest by data set, as :func:`pipelines.ingest.ingested` gives them.
        fresh: train the runs that are done again as well.

    Returns:
        the number of runs that were trained.

    Raises:
        TrainingFailedError: a run failed; the others' results are kept.
        UserError: the case logs to wandb, which is not installed, or its mixing cannot be kept with these data sets.
    """
    check_wandb(case)
    check_counted(case, data_sets)
    mixing_plan(case, training_sizes(data_sets), 0, list(case.tasks))
    experiment = experiment_folder(case)
    runs = list_runs(case)
    if fresh:
        for run in runs:
            (run.folder(experiment) / "run.json").unlink(missing_ok=True)
    waiting = [run for run in runs if not is_done(run, experiment, data_sets)]
    if waiting:
        with bar("train", len(waiting) * case.training.steps, "steps") as shown:
            fit_runs(case, waiting, data_sets, experiment, shown)
    return len(waiting)


def fit_runs(
    case: Case,
    runs: Sequence[Run],
    data_sets: Mapping[str, tuple[str, Manifest]],
    experiment: Path,
    shown: Bar,
) -> None:
    """Fit runs with as many trainers at once as the cluster has room for, and show how far they are."""
    import ray

    groups = _groups_at_once(case, len(runs))
    desk = ray.remote(num_cpus=0, max_concurrency=groups + 1)(_Desk).remote()
    waiting = [
        desk.fit.remote(Work(case, tuple(runs[number::groups]), data_sets, experiment), f"group-{number}")
        for number in range(groups)
    ]
    failures: list[str] = []
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=0.3)
        failures += [failure for failure in ray.get(ready) if failure is not None]
        shown.show(*ray.get(desk.summary.remote()))
    if failures:
        raise TrainingFailedError("\n".join(failures))


def group_trainer(work: Work, name: str) -> Any:
    """Return the TorchTrainer that trains a group's runs."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from pipelines.no_process_group import NoProcessGroup

    training = work.case.training
    return TorchTrainer(
        train_runs,
        train_loop_config={"work": work},
        torch_config=TorchConfig() if training.workers > 1 else NoProcessGroup(),
        scaling_config=ScalingConfig(
            num_workers=training.workers,
            use_gpu=training.device == "cuda",
            resources_per_worker={"CPU": training.threads_per_worker},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(work.experiment / ".ray"),
            failure_config=FailureConfig(max_failures=0),
        ),
    )


def _groups_at_once(case: Case, runs: int) -> int:
    worth = min(runs, -(-runs * case.training.steps // _STEPS_WORTH_A_GROUP))
    fit = trainers_that_fit(case)
    return worth if fit is None else min(fit, worth)


def trainers_that_fit(case: Case) -> int | None:
    """Return how many trainers fit this machine at once; None on a cluster.

    There what does not fit waits, and an autoscaling cluster grows by what waits.

    Raises:
        UserError: not one fits.
    """
    import ray

    if "RAY_ADDRESS" in os.environ:
        return None
    training, room = case.training, ray.cluster_resources()
    cpus = training.workers * training.threads_per_worker
    if room.get("CPU", 0) < cpus:
        raise UserError(
            f"training.workers x training.threads_per_worker: found {training.workers} x "
            f"{training.threads_per_worker}; this machine has {room.get('CPU', 0):g} processors"
        )
    fit = room["CPU"] // cpus
    if training.device == "cuda":
        if room.get("GPU", 0) < training.workers:
            raise UserError(
                f"training.device: found 'cuda' for {training.workers} workers; "
                f"this machine has {room.get('GPU', 0):g} GPUs that Ray can see"
            )
        fit = min(fit, room["GPU"] // training.workers)
    return int(fit)


def _reason(error: BaseException) -> str:
    """Return the innermost message of a failure, which Ray wraps in several layers."""
    failures = getattr(error, "worker_failures", None) or {}
    inner = next(iter(failures.values()), error)
    text = str(getattr(inner, "cause", None) or inner).strip()
    return text.splitlines()[-1] if "Traceback" in text else text


class _Desk:
    """Runs the trainers and is told how far every run is: an actor, which ends with the driver and all it started."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        self._note = "starting workers"

    def fit(self, work: Work, name: str) -> str | None:
        """Train a group's runs; return why that failed, if it did."""
        import ray

        told = partial(_tell, ray.get_runtime_context().current_actor)
        try:
            group_trainer(replace(work, told=told), name).fit()
        except Exception as error:  # the driver waits for all groups before it tells
            return _reason(error)
        return None

    def put(self, run: str, step: int, loss: float) -> None:
        self._steps[run] = step
        self._note = f"{run} loss {loss:.3f}"

    def summary(self) -> tuple[int, str]:
        return sum(self._steps.values()), self._note


def _tell(desk: Any, run: str, step: int, loss: float) -> None:
    desk.put.remote(run, step, loss)
