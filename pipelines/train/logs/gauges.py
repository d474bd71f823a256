"""A worker's gauges at Ray's metrics endpoint: how fast it trains, what it waits for, what memory it has."""

import time
from collections.abc import Mapping

import torch

from pipelines.base.metrics import set_gauge
from pipelines.experiment.run import Run
from pipelines.train.logs.rate_meter import RateMeter
from pipelines.train.state import TrainingState
from pipelines.train.worker import Worker


class RunGauges:
    """Every worker of a run has them.

    Args:
        run: the run.
        worker: the worker.
        state: the run's, from which it begins or resumes.
        rows_per_step: rows of the global batch.
        steps: how many there are to be.
    """

    def __init__(self, run: Run, worker: Worker, state: TrainingState, rows_per_step: int, steps: int) -> None:
        self._tags = {"run": str(run), "worker": str(worker.rank)}
        self._worker, self._state, self._steps = worker, state, steps
        self._meter = RateMeter(state, rows_per_step / worker.world_size)
        self._kept = time.perf_counter()

    def tell(self, losses: Mapping[str, float], learning_rate: float) -> None:
        """Tell how the worker stands; of the whole run, only the first tells."""
        rates = self._meter.read()
        self._set("kindred_step", self._state.step)
        self._set("kindred_steps", self._steps)
        self._set("kindred_rows_per_second", rates.rows_per_s)
        self._set("kindred_data_wait", rates.data_wait)
        if self._worker.device.type == "cuda":
            self._set("kindred_gpu_memory_bytes", torch.cuda.memory_allocated(self._worker.device))
        if self._worker.rank == 0:
            self._set("kindred_learning_rate", learning_rate)
            self._set("kindred_checkpoint_age_seconds", time.perf_counter() - self._kept)
            for part, value in losses.items():
                set_gauge("kindred_loss", value, self._tags | {"part": part})

    def keep(self) -> None:
        """Take note that a checkpoint is being written."""
        self._kept = time.perf_counter()

    def _set(self, name: str, value: float) -> None:
        set_gauge(name, value, self._tags)
