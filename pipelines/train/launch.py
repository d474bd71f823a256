"""Launch the training of a case's runs with Ray Train.

Starting a group of workers costs seconds, a short run less. So a case's runs are dealt over as many groups as fit
the cluster at once and are worth their start, each a TorchTrainer whose workers train run after run.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.progress import Bar, bar, note
from pipelines.base.ray_session import is_own_ray, need_ray
from pipelines.base.storage import delete, join
from pipelines.base.waiting import Waiting
from pipelines.batches.batch import batch_sampler, training_sizes
from pipelines.batches.counted_relatedness import check_counted
from pipelines.batches.coverage import coverage_notes
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.lease import training_lease
from pipelines.experiment.run import RECORD, Run, is_done, list_runs
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.checkpoints.compatibility import check_resumable
from pipelines.train.checkpoints.store import CHECKPOINTS, delete_checkpoints
from pipelines.train.failure import failure_of
from pipelines.train.logs.progress_line import progress_of
from pipelines.train.logs.step_metrics import StepMetrics
from pipelines.train.logs.wandb_log import check_wandb
from pipelines.train.prepare import check_compiler
from pipelines.train.reuse import reuse_runs

# Starting a group, four processes and more one after the other, takes as long as so many steps of a small network.
_STEPS_WORTH_A_GROUP = 1000
_LONGEST_STOP_S = 60.0  # for a checkpoint, when the command is to end


class TrainingFailedError(Exception):
    """A run failed; the message says which and why."""


def train(
    case: Case,
    data_sets: DataSets,
    fresh: bool = False,
    allow_version_mismatch: bool = False,
    extend: bool = False,
    wait: bool = False,
) -> int:
    """Train the runs of a case that are not done, those that were begun from where they stand; needs Ray if any is.

    Args:
        case: the case.
        data_sets: as :func:`pipelines.ingest.ingest.ingested` returns them.
        fresh: train all runs again, from the beginning.
        allow_version_mismatch: resume also from checkpoints of another version of Kindred or torch.
        extend: where ``steps`` was raised, go on from the end of shorter runs even if that is another training.
        wait: where another process trains the experiment, wait until it has ended.

    Returns:
        the number of runs that were trained.

    Raises:
        TrainingFailedError: a run failed; the others' results are kept.
        UserError: the case logs to wandb, which is not installed, or compiles, without a compiler; its mixing cannot be
            kept with these datasets; a run was begun by other code or on other data; or another process trains the
            experiment.
    """
    check_wandb(case)
    check_compiler(case)
    check_counted(case, data_sets)
    for name, arm in case.arms.items():
        batch_sampler(case.for_arm(name), training_sizes(data_sets), 0, case.tasks_of_arm(name), arm.batch)
    experiment = experiment_folder(case)
    if not fresh and all(is_done(run, experiment, data_sets) for run in list_runs(case)):
        return 0
    with training_lease(experiment, wait=wait):
        return _train_what_is_left(case, data_sets, experiment, fresh, allow_version_mismatch, extend)


def _train_what_is_left(
    case: Case, data_sets: DataSets, experiment: str, fresh: bool, allow_version_mismatch: bool, extend: bool
) -> int:
    runs = list_runs(case)
    if fresh:
        for run in runs:
            delete(join(run.folder(experiment), RECORD))
            delete_checkpoints(join(run.folder(experiment), CHECKPOINTS))
    waiting = [run for run in runs if not is_done(run, experiment, data_sets)]
    if waiting and not fresh:
        reuse_runs(case, waiting, data_sets, experiment, extend)
        waiting = [run for run in waiting if not is_done(run, experiment, data_sets)]
    if waiting:
        for words in coverage_notes(case, data_sets):
            note(words)
        check_resumable(waiting, experiment, data_sets, allow_version_mismatch)
        with bar("train", len(waiting) * case.training.steps, "steps", waiting=_waiting(case)) as shown:
            fit_runs(case, waiting, data_sets, experiment, shown, allow_version_mismatch)
    return len(waiting)


def fit_runs(
    case: Case,
    runs: Sequence[Run],
    data_sets: DataSets,
    experiment: str,
    shown: Bar,
    allow_version_mismatch: bool = False,
) -> None:
    """Fit runs with as many trainers at once as the cluster has room for, and show how far they are.

    Raises:
        TrainingFailedError: runs failed; what they came to is kept.
    """
    need_ray()
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # What an earlier attempt wrote of a failure does not count in this one.
    groups, attempt = _groups_at_once(case, len(runs)), uuid.uuid4().hex
    # Beside the driver, whose bar it feeds: a node that an autoscaler takes away must not end all trainers.
    this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_concurrency=groups + 1, scheduling_strategy=this_node)(ProgressActor).remote()
    waiting = [
        actor.fit.remote(
            # By stride: runs of an arm stand together, and arms differ in what a step costs.
            WorkerAssignment(case, tuple(runs[number::groups]), data_sets, experiment, attempt, allow_version_mismatch),
            f"group-{number}",
            is_own_ray(),
        )
        for number in range(groups)
    ]
    failures: list[str] = []
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, timeout=0.3)
            failures += [failure for failure in ray.get(ready) if failure is not None]
            done, words, at = ray.get(actor.summary.remote())
            shown.show(done, words, at)
    except KeyboardInterrupt:
        _let_them_keep(actor, waiting)
        raise
    if failures:
        raise TrainingFailedError("\n".join(failures))


def _waiting(case: Case) -> Waiting | None:
    """Return who says what the workers wait for; on a cluster alone, for a Ray of one's own is all there at once."""
    if is_own_ray():
        return None
    training = case.training
    each = {"CPU": float(training.threads_per_worker), "GPU": float(training.device == "cuda")}
    return Waiting(training.min_workers, each, ", or ask for less (training.workers, threads_per_worker, device)")


def _let_them_keep(actor: Any, waiting: Sequence[Any]) -> None:
    """Have the runs that train write a checkpoint before the command ends; another interruption ends it at once.

    What has not begun to train has nothing to keep, and is not waited for.
    """
    import ray

    training = ray.get(actor.stop.remote())
    deadline = time.monotonic() + _LONGEST_STOP_S
    ended = 0
    while waiting and ended < training and time.monotonic() < deadline:
        ready, waiting = ray.wait(waiting, timeout=0.1)
        ended += len(ready)


def _groups_at_once(case: Case, runs: int) -> int:
    if case.training.min_workers < case.training.max_workers:
        return 1  # it takes all that there is
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

    if not is_own_ray():
        return None
    training, room = case.training, ray.cluster_resources()
    workers = training.min_workers
    cpus = workers * training.threads_per_worker
    if room.get("CPU", 0) < cpus:
        raise UserError(
            f"training.workers x training.threads_per_worker: found {workers} x "
            f"{training.threads_per_worker}; expected at most {room.get('CPU', 0):g}, the processors of this machine"
        )
    fit = room["CPU"] // cpus
    if training.device == "cuda":
        if room.get("GPU", 0) < workers:
            raise UserError(
                f"training.device: found 'cuda' for {workers} workers; "
                f"expected at most {room.get('GPU', 0):g}, the GPUs of this machine that Ray can see"
            )
        fit = min(fit, room["GPU"] // workers)
    return int(fit)


def _reason(error: BaseException) -> str:
    """Return the innermost message of a failure, which Ray wraps in several layers."""
    failures = getattr(error, "worker_failures", None) or {}
    inner = next(iter(failures.values()), error)
    text = str(getattr(inner, "cause", None) or inner).strip()
    return text.splitlines()[-1] if "Traceback" in text else text


class ProgressActor:
    """Runs the trainers and collects their progress: an actor, which ends with the driver and all that it started."""

    def __init__(self) -> None:
        self._seen: dict[str, StepMetrics] = {}
        self._lock = Lock()
        self._training: set[str] = set()
        self._stopping = False

    def fit(self, work: WorkerAssignment, name: str, alone: bool) -> str | None:
        """Train a group's runs; return why that failed, if it did. ``alone``: Ray is the command's own."""
        import ray

        from pipelines.train.trainer import group_trainer

        me = ray.get_runtime_context().current_actor
        work = replace(work, on_progress=partial(_report_progress, me), stop_asked=_StopAsked(me, name))
        died = None
        try:
            group_trainer(work, name, alone=alone).fit()
        except Exception as error:  # the driver waits for all groups before it tells
            died = _reason(error)
        self._training.discard(name)
        failures = [failure for run in work.runs if (failure := failure_of(work, run))]
        return "\n".join(failures) or died

    def put(self, metrics: StepMetrics) -> None:
        """Take a run's progress."""
        with self._lock:
            self._seen.pop(metrics.run, None)
            self._seen[metrics.run] = metrics  # the last heard of stands last

    def stops(self, group: str) -> bool:
        """Say whether a group that trains is to end."""
        self._training.add(group)
        return self._stopping

    def stop(self) -> int:
        """Have the groups end; return how many of them train."""
        self._stopping = True
        return len(self._training)

    def summary(self) -> tuple[int, str, dict[str, object]]:
        """Return the steps that are done, a line about the runs, and where the one stands that was last heard of."""
        with self._lock:
            seen = dict(self._seen)
        last = next(reversed(seen.values()), None)
        at: dict[str, object] = {"run": last.run, "rank": 0, "step": last.step} if last else {}
        return *progress_of(seen), at


def _report_progress(actor: Any, metrics: StepMetrics) -> None:
    actor.put.remote(metrics)


class _StopAsked:
    """Asks the actor whether to stop, and returns what it has answered by now: no step waits for the answer."""

    def __init__(self, actor: Any, group: str) -> None:
        self._actor, self._group, self._asked = actor, group, None

    def __call__(self) -> bool:
        import ray
        from ray.exceptions import RayError

        answered = False
        if self._asked is not None and ray.wait([self._asked], timeout=0)[0]:
            try:
                answered = bool(ray.get(self._asked))
            except RayError:
                return False  # the driver is gone: Ray ends its workers, too
            self._asked = None
        if self._asked is None:
            self._asked = self._actor.stops.remote(self._group)
        return answered
