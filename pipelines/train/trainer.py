"""The TorchTrainer of a group of runs. Importing this imports Ray Train."""

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from pipelines.base.ray_storage import ray_storage
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.malloc import HEAP_ENVIRONMENT
from pipelines.train.no_process_group import NoProcessGroup
from pipelines.train.worker_loop import train_runs


def group_trainer(work: WorkerAssignment, name: str) -> TorchTrainer:
    """Return the trainer of a group's runs."""
    training = work.case.training
    return TorchTrainer(
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
