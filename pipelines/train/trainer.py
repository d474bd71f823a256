"""The TorchTrainer of a group of runs. Importing this imports Ray Train."""

import os
from contextlib import suppress
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from pipelines.base.ray_storage import ray_storage
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.malloc import HEAP_ENVIRONMENT
from pipelines.train.no_process_group import NoProcessGroup
from pipelines.train.worker_loop import train_runs

# Actors of Ray Train 2.60 that have nothing to do, by the callback that starts them. Each is a process to start and to
# import Ray in, and wakes a hundred times a second: 0.7 to 1.3 % of a processor, taken from whoever trains.
_IDLE = ("DatasetsCallback",)  # training reads blocks, not Ray Data's datasets
_IDLE_ALONE = ("PlacementGroupCleanerCallback",)  # where nobody waits for its place
_WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"


class GroupTrainer(TorchTrainer):  # type: ignore[misc]
    """A TorchTrainer without actors that would idle.

    Args:
        alone: Ray is the command's own, on one node, and ends with the command, which ends when a trainer dies; so
            nobody need clean up after it, make room for its workers, or watch whether the node is taken away.
        given: as TorchTrainer takes it.
    """

    def __init__(self, *, alone: bool, **given: Any) -> None:
        super().__init__(**given)
        self._alone = alone

    def fit(self) -> Any:
        """Train, as TorchTrainer does."""
        if self._alone:
            os.environ.setdefault(_WATCHER, "0")  # which Ray Train hands to its controller
        return super().fit()

    def _initialize_and_run_controller(self, **given: Any) -> Any:
        if self._alone:
            with suppress(ImportError):  # a Ray Train with other internals; then the actor idles
                from pipelines.train.unannounced_workers import unannounced

                given["scaling_policy"] = unannounced(given["scaling_policy"])
        return super()._initialize_and_run_controller(**given)

    def _create_default_callbacks(self) -> list[Any]:
        idle = _IDLE + (_IDLE_ALONE if self._alone else ())
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in idle]


def group_trainer(work: WorkerAssignment, name: str, alone: bool) -> GroupTrainer:
    """Return the trainer of a group's runs."""
    training = work.case.training
    return GroupTrainer(
        alone=alone,
        train_loop_per_worker=train_runs,
        train_loop_config={"work": work},
        torch_config=TorchConfig() if training.max_workers > 1 else NoProcessGroup(),
        scaling_config=ScalingConfig(
            num_workers=training.workers,
            elastic_resize_monitor_interval_s=training.resize_every_s,
            use_gpu=training.device == "cuda",
            resources_per_worker={"CPU": training.threads_per_worker},
        ),
        run_config=RunConfig(
            name=name,
            **ray_storage(work.experiment),
            failure_config=FailureConfig(max_failures=training.max_failures),
            worker_runtime_env={"env_vars": HEAP_ENVIRONMENT},
        ),
    )
