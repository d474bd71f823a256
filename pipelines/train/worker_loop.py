"""The train function that Ray Train calls on every worker."""

from dataclasses import replace
from typing import Any

import torch

from pipelines.base.shared_storage import unseen
from pipelines.base.storage import StorageUnavailableError
from pipelines.experiment.run import is_done
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.data import open_training_data
from pipelines.train.failure import failure_of, is_peer_failure, note_failure
from pipelines.train.logs.loss_history import LossNotFiniteError
from pipelines.train.loop import RunStoppedError, train_run
from pipelines.train.malloc import disable_malloc_trim
from pipelines.train.worker import Worker, allow_tf32, ray_worker


def train_runs(config: dict[str, Any]) -> None:
    """Train a group's runs that are not done, one after the other.

    Ray Train calls it again, on whatever workers there are then, when a worker dies. A failure that would come again
    is written down, and ends the attempt.
    """
    work: WorkerAssignment = config["work"]
    torch.set_num_threads(work.case.training.threads_per_worker)
    worker = replace(ray_worker(), stop_asked=work.stop_asked or (lambda: False))
    if worker.device.type == "cpu":
        disable_malloc_trim()
    allow_tf32(work.case.training.precision != "float32")
    if lost := unseen(work.data_sets.folders.values()):
        raise StorageUnavailableError(lost)
    data = None
    for run in work.runs:
        if failure_of(work, run):  # it would come again: Ray Train is given nothing to retry
            return
        if is_done(run, work.experiment, work.data_sets):
            continue
        try:
            # Inside, so that a damaged block is told with the run that met it.
            data = data or open_training_data(work.case, work.data_sets)
            train_run(work, run, data, worker)
        except RunStoppedError:
            return  # on all workers alike
        except Exception as error:
            if _is_of_all(error, worker):
                if worker.rank == 0:
                    note_failure(work, run, error)
                return
            if not is_peer_failure(error):
                note_failure(work, run, error)
            raise  # peers wait for this worker: only Ray can end that


def _is_of_all(error: Exception, worker: Worker) -> bool:
    """Say whether all workers have this error, as there is one alone or it comes of what they all know."""
    return worker.world_size == 1 or isinstance(error, LossNotFiniteError)
