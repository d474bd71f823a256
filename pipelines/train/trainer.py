"""The TorchTrainer of a group of runs. Importing this imports Ray Train."""

from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from pipelines.base.ray_storage import ray_storage
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.malloc import HEAP_ENVIRONMENT
from pipelines.train.no_process_group import NoProcessGroup
from pipelines.train.process_group import NamedInterface
from pipelines.train.worker_loop import train_runs

# Callbacks of Ray Train whose actors have nothing to do on a Ray of the command's own. The cleaner of placement groups
# asks the dashboard, which is off there, whether the controller lives, and takes twelve seconds to give up when a run
# has ended; the other manages datasets of Ray Data, which training does not read. Neither has a public setting.
_IDLE_ALONE = ("PlacementGroupCleanerCallback", "DatasetsCallback")


class GroupTrainer(TorchTrainer):  # type: ignore[misc]
    """A TorchTrainer without the actors that would idle where Ray is the command's own and ends with it.

    Args:
        alone: whether Ray is the command's own.
        settings: as TorchTrainer takes them.
    """

    def __init__(self, *, alone: bool, **settings: Any) -> None:
        super().__init__(**settings)
        self._alone = alone

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()
        return [callback for callback in callbacks if not (self._alone and type(callback).__name__ in _IDLE_ALONE)]


def group_trainer(work: WorkerAssignment, name: str, *, alone: bool = False) -> GroupTrainer:
    """Return the trainer of a group's runs; ``alone``: Ray is the command's own and ends with it."""
    training = work.case.training
    return GroupTrainer(
        alone=alone,
        train_loop_per_worker=train_runs,
        train_loop_config={"work": work},
        torch_config=NamedInterface() if training.max_workers > 1 else NoProcessGroup(),
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
            # Here and not in the workers' code: malloc reads it when a process starts.
            worker_runtime_env={"env_vars": HEAP_ENVIRONMENT},
        ),
    )
