"""Train and score a trial: what a worker does with a job of the search."""

import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch

from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.base.storage import StorageUnavailableError, join
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.experiment.run import Run, is_done, list_runs
from pipelines.search.baselines import baseline_arm
from pipelines.search.objective import objective_of
from pipelines.search.score import Counts, score_runs, write_counts
from pipelines.search.search import Job
from pipelines.search.settings import with_case_settings
from pipelines.search.store import SearchStore
from pipelines.train.assignment import Pause, WorkerAssignment
from pipelines.train.checkpoints.file import Event, NotACheckpointError, step_of
from pipelines.train.checkpoints.store import (
    CHECKPOINTS,
    checkpoint_names,
    delete_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from pipelines.train.data import open_training_data
from pipelines.train.loop import train_run
from pipelines.train.worker import Worker, allow_tf32


class Told(Protocol):
    """Who is told what a job comes to: a search, or an actor that holds one."""

    def report(self, job: Job, step: int, scores: Mapping[str, float], last: bool = False) -> bool:
        """See :meth:`pipelines.search.search.Search.report`."""
        ...

    def has_stopped(self, job: Job) -> bool:
        """Say whether the trial was to end early."""
        ...

    def paused(self, job: Job, seconds: float) -> None:
        """See :meth:`pipelines.search.search.Search.paused`."""
        ...

    def stopped(self, job: Job, seconds: float) -> None:
        """See :meth:`pipelines.search.search.Search.stopped`."""
        ...

    def scored(
        self, job: Job, seed: int, scores: Mapping[str, float], metrics: Mapping[str, float], seconds: float
    ) -> None:
        """See :meth:`pipelines.search.search.Search.scored`."""
        ...

    def failed(self, job: Job, reason: str, seconds: float) -> None:
        """See :meth:`pipelines.search.search.Search.failed`."""
        ...


Fit = Callable[[WorkerAssignment], None]
Scored = tuple[Counts, dict[str, float]]


def trial_case(case: Case, job: Job, seed: int) -> Case:
    """Return the case of a trial's run: one arm, one seed.

    Raises:
        UserError: its settings do not make a case.
    """
    tuned = case.tuning.arm
    if job.name:
        case = case.model_copy(update={"arms": {job.name: baseline_arm(case, job.name)}})
    else:
        case = with_case_settings(case, job.settings)
        case = case.model_copy(update={"arms": {tuned: case.arms[tuned]}})
    # Nothing goes on from a trial's end.
    checkpoints = case.training.checkpoints.model_copy(update={"final": False})
    training = case.training.model_copy(update={"seeds": (seed,), "checkpoints": checkpoints})
    return case.model_copy(update={"training": training})


def do_job(
    job: Job,
    told: Told,
    case: Case,
    data_sets: DataSets,
    store: SearchStore,
    fit: Fit,
    score: "Callable[[Case, list[Run], str], Scored]",
) -> None:
    """Train a trial's seeds that are not trained, and score them on the validation split.

    A trial that fails is told with its reason; storage that does not answer is no trial's fault, and is raised.

    Args:
        job: what to do.
        told: who is told.
        case: the case of the search.
        data_sets: without the test split.
        store: of the search.
        fit: trains an assignment's runs.
        score: scores runs of a trial's case that lie in a folder.
    """
    folder, begun = store.trial_folder(job.number), time.monotonic()
    for seed in job.seeds:
        try:
            tried = trial_case(case, job, seed)
            runs = list_runs(tried)
            asked = partial(_report, told, job, tried.training.steps) if job.reports and seed == job.seeds[0] else None
            attempt = uuid.uuid4().hex
            pause = None if job.until is None else Pause(job.until, store.states_folder(job.number))
            if job.begins_from and not is_done(runs[0], folder, data_sets):
                begin_from(job.begins_from, runs[0], folder, store)
            fit(WorkerAssignment(tried, tuple(runs), data_sets, folder, attempt, on_validation=asked, pause=pause))
            if job.until is not None:
                told.paused(job, time.monotonic() - begun)
                return
            if asked and told.has_stopped(job):
                told.stopped(job, time.monotonic() - begun)
                return
            counted, metrics = score(tried, runs, folder)
            write_counts(folder, seed, counted)
        except StorageUnavailableError:
            raise
        except Exception as error:  # whatever a configuration brings about is what the search wants to know
            told.failed(job, _words(error), time.monotonic() - begun)
            return
        told.scored(job, seed, counted.scores, metrics, time.monotonic() - begun)
        begun = time.monotonic()


def begin_from(parent: tuple[int, int], run: Run, folder: str, store: SearchStore) -> None:
    """Make the state of a trial of a population, or what it has trained since, what a run goes on from.

    Where that state is not there any more, or damaged, the run begins anew: with the settings that the trial has by
    step it comes to the same state.

    Args:
        parent: the trial whose state it is, and after how many steps.
        run: the one that goes on.
        folder: of its trial.
        store: of the search.
    """
    number, step = parent
    checkpoints = join(run.folder(folder), CHECKPOINTS)
    own = checkpoint_names(checkpoints)
    if any((step_of(name) or 0) > step for name in own):
        return  # killed since
    states = store.states_folder(number)
    for name in checkpoint_names(states):
        if step_of(name) != step:
            continue
        try:
            found = read_checkpoint(states, name)
        except (FileNotFoundError, NotACheckpointError) as error:
            note(f"{states}: {error}; the trial begins anew")
            continue
        update: dict[str, Any] = {}
        if store.trial_folder(number) != folder:
            event = Event(step=step, what=f"went on from the state of trial {number}")
            # A name of its own in logs elsewhere: both go on.
            update = {"events": (*found.about.events, event), "log_id": uuid.uuid4().hex[:12]}
        begun = found.model_copy(update={"about": found.about.model_copy(update=update)})
        write_checkpoint(checkpoints, begun, keep=1)
        return
    delete_checkpoints(checkpoints)  # of what the trial was before


def _report(told: Told, job: Job, steps: int, run: Run, step: int, scores: Mapping[str, float]) -> bool:
    return told.report(job, step, scores, step >= steps)


def _words(error: Exception) -> str:
    words = str(error).strip() or type(error).__name__
    return words if isinstance(error, UserError) else f"{type(error).__name__}: {words}"


def fit_here(worker: Worker, work: WorkerAssignment) -> None:
    """Train an assignment's runs in this process, which is one worker; those that are done are not trained again."""
    case, data = work.case, None
    torch.set_num_threads(case.training.threads_per_worker)
    allow_tf32(case.training.precision != "float32")
    for run in work.runs:
        if not is_done(run, work.experiment, work.data_sets):
            data = data or open_training_data(case, work.data_sets)
            train_run(work, run, data, worker)


def score_here(device: torch.device, data_sets: DataSets, case: Case, runs: list[Run], folder: str) -> Scored:
    """Score runs in this process."""
    return score_runs(case, runs, folder, data_sets, objective_of(case), device)


def work_here(
    name: str, search: Any, case: Case, data_sets: DataSets, store: SearchStore, worker: Worker | None = None
) -> None:
    """Do jobs in this process until there are none left.

    Args:
        name: of this worker.
        search: a search, or whoever stands for one: ``next`` and the methods of :class:`Told`.
        case: the case of the search.
        data_sets: without the test split.
        store: of the search.
        worker: this process as a worker.
    """
    worker = worker or Worker()
    fit, score = partial(fit_here, worker), partial(score_here, worker.device, data_sets)
    while (job := search.next(name, 2.0)) is not None:
        if isinstance(job, Job):
            do_job(job, search, case, data_sets, store, fit, score)
