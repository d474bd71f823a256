"""The workers of a search on Ray: few that live long, to which a search hands one trial after the other.

Starting a process and importing torch takes longer than many a trial trains. So trials of one worker are trained inside
long-lived actors, and those of several by a trainer each, which an actor waits for. A desk, an actor beside the driver,
holds the search; everybody asks it.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pipelines.base.ray_session import is_own_ray
from pipelines.base.storage import StorageUnavailableError
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.case.search_parameters import Parameter
from pipelines.experiment.run import Run
from pipelines.search.live import LiveSearch
from pipelines.search.search import Job, Search, Summary, gpus_of_trial
from pipelines.search.store import SearchStore
from pipelines.train.launch import TrainingFailedError, trainers_that_fit
from pipelines.train.malloc import HEAP_ENVIRONMENT, disable_malloc_trim

_BYTES_PER_TRIAL = 1 << 30  # of a process that has loaded torch and trains a small network
_BYTES_PER_TRAINER = 1 << 31
_MOST_RESTARTS = 20  # of workers that die before they have done anything


class Desk(Search):
    """A search in an actor: what its workers and the driver ask."""

    def __init__(self, case: Case, space: Mapping[str, Parameter], folder: str, extend: int) -> None:
        super().__init__(case, space, SearchStore(folder), extend)
        self.begin()


class TrialWorker:
    """An actor that does one job after the other.

    Args:
        case: the case of the search.
        data_sets: without the test split.
        folder: of the search.
        desk: the actor that holds it.
        alone: whether Ray is the command's own.
    """

    def __init__(self, case: Case, data_sets: DataSets, folder: str, desk: Any, alone: bool) -> None:
        self._case, self._data_sets, self._store = case, data_sets, SearchStore(folder)
        self._desk, self._alone = _AtDesk(desk), alone

    def work(self, name: str) -> None:
        """Work until there is nothing left to do."""
        from pipelines.search.job import do_job, work_here

        if self._case.training.max_workers == 1:
            worker = _this_process(self._case)
            work_here(name, self._desk, self._case, self._data_sets, self._store, worker)
            return
        while (job := self._desk.next(name, 2.0)) is not None:
            if isinstance(job, Job):
                fit, score = partial(_fit_with_trainer, self._alone), partial(_score_on_cluster, self._data_sets)
                do_job(job, self._desk, self._case, self._data_sets, self._store, fit, score)


class _AtDesk:
    """A search that is in another process; pickles with a worker's assignment."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return partial(_asked, self._desk, name)

    def __reduce__(self) -> Any:
        return _AtDesk, (self._desk,)


def _asked(desk: Any, name: str, *arguments: Any) -> Any:
    import ray

    return ray.get(getattr(desk, name).remote(*arguments))


def _this_process(case: Case) -> Any:
    import torch

    from pipelines.train.worker import Worker

    device = torch.device("cuda" if case.training.device == "cuda" else "cpu")
    if device.type == "cpu":
        disable_malloc_trim()
    return Worker(device=device)


def _fit_with_trainer(alone: bool, work: Any) -> None:
    from pipelines.train.failure import failure_of
    from pipelines.train.trainer import group_trainer

    group_trainer(work, f"trial-{work.attempt[:8]}", alone=alone).fit()
    if failures := [failure for run in work.runs if (failure := failure_of(work, run))]:
        raise TrainingFailedError("\n".join(failures))


def _score_on_cluster(data_sets: DataSets, case: Case, runs: list[Run], folder: str) -> Any:
    """Score where there is a device for it: this actor has none of its own."""
    import ray
    import torch

    from pipelines.search.job import score_here

    on_gpu = case.training.device == "cuda"
    score = ray.remote(num_cpus=0 if not on_gpu else 1, num_gpus=1 if on_gpu else 0)(score_here)
    return ray.get(score.remote(torch.device("cuda" if on_gpu else "cpu"), data_sets, case, runs, folder))


def trials_at_once(case: Case) -> int:
    """Return how many trials run at once: as ``tuning.concurrency`` says, or as processors, GPUs and memory have room.

    Of a cluster it is what is there now; where it grows by what waits, ``concurrency`` says how far.

    Raises:
        UserError: not one fits this machine.
    """
    import ray

    if case.training.min_workers < case.training.max_workers:
        return 1  # it takes all that there is
    trainers_that_fit(case)
    return case.tuning.concurrency or trials_that_fit(case, ray.cluster_resources())


def trials_that_fit(case: Case, room: Mapping[str, float]) -> int:
    """Return how many trials find room at once, one at least.

    Args:
        case: the case.
        room: what there is, by Ray's names of resources.
    """
    training, workers = case.training, case.training.max_workers
    fit = room.get("CPU", 1) // (workers * training.threads_per_worker)
    if training.device == "cuda":
        fit = min(fit, _whole_shares(room.get("GPU", 0), gpus_of_trial(case)))
    bytes_each = _BYTES_PER_TRIAL if workers == 1 else _BYTES_PER_TRAINER
    return max(1, int(min(fit, room.get("memory", bytes_each) // bytes_each)))


def _whole_shares(gpus: float, each: float) -> int:
    """Return how many trials GPUs have room for; a share that divides no GPU evenly leaves some of each unused."""
    return int(gpus) * int(1 / each + 1e-9) if each < 1 else int(gpus / each)


def worker_request(case: Case) -> dict[str, float]:
    """Return what a worker of the search asks Ray for, for as long as it lives.

    One that has a trial's only worker within it asks for that one's processors and share of a GPU; one that waits for a
    trainer asks for nothing, since the trainer asks for its workers itself.
    """
    if case.training.max_workers > 1:
        return {"num_cpus": 0, "num_gpus": 0}
    return {"num_cpus": case.training.threads_per_worker, "num_gpus": gpus_of_trial(case)}


def run_trials(
    case: Case, space: Mapping[str, Parameter], data_sets: DataSets, folder: str, extend: int, shown: LiveSearch
) -> None:
    """Run a search's trials to its end; needs a running Ray.

    Args:
        case: the case.
        space: what is searched.
        data_sets: without the test split.
        folder: of the search.
        extend: by how many trials it is to be longer.
        shown: where to show how far it is.

    Raises:
        StorageUnavailableError: object storage does not answer.
        TrainingFailedError: workers cannot be kept alive.
    """
    import ray
    from ray.exceptions import RayActorError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    at_once = trials_at_once(case)
    this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    hosted = ray.remote(num_cpus=0, max_concurrency=2 * at_once + 4, scheduling_strategy=this_node)(Desk)
    desk = hosted.remote(case, space, folder, extend)
    shared, worker_class = ray.put((case, data_sets)), _worker_class(case, this_node)
    waiting: dict[Any, tuple[str, Any]] = {}
    restarts = 0

    def start(name: str) -> None:
        actor = worker_class.remote(*ray.get(shared), folder, desk, is_own_ray())
        waiting[actor.work.remote(name)] = (name, actor)

    summary: Summary = ray.get(desk.summary.remote())
    shown.show(summary)
    for i in range(min(at_once, max(1, summary.target - summary.ended))):
        start(f"worker-{i}")
    while waiting and not summary.over:  # a worker for which there never was room is not waited for
        ready, _ = ray.wait(list(waiting), timeout=0.3)
        for reference in ready:
            name, _actor = waiting.pop(reference)
            try:
                ray.get(reference)
            except RayTaskError as error:
                if isinstance(error.cause, StorageUnavailableError):
                    raise error.cause from None
                raise
            except RayActorError as error:
                restarts += 1
                ray.get(desk.died.remote(name))
                if restarts > _MOST_RESTARTS:
                    raise TrainingFailedError(f"workers of the search die: {error}") from None
                start(f"{name.partition('+')[0]}+{restarts}")
        summary = ray.get(desk.summary.remote())
        shown.show(summary)
    ray.get(desk.close.remote(True))


def _worker_class(case: Case, this_node: Any) -> Any:
    import ray

    # One that waits for a trainer stands beside the driver: a node that an autoscaler takes away must not end it.
    where = this_node if case.training.max_workers > 1 else "DEFAULT"
    # malloc reads its environment when a process starts
    environment = {"env_vars": HEAP_ENVIRONMENT}
    return ray.remote(**worker_request(case), scheduling_strategy=where, runtime_env=environment)(TrialWorker)
