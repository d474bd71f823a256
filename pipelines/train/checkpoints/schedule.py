"""The checkpoint schedule: when a checkpoint is due, and when to look for a preemption notice, or the command's end."""

import time

from pipelines.case.training import Checkpoints
from pipelines.train.worker import Worker

# Asking Ray Train for preemption notices involves all workers; clouds give minutes of notice, so once a second will do.
_LOOK_EVERY_S = 1.0


class CheckpointSchedule:
    """Decides by the first worker's clock, so that all workers save at the same step.

    Args:
        settings: how often checkpoints are written.
        worker: this worker.
    """

    def __init__(self, settings: Checkpoints, worker: Worker) -> None:
        self._settings, self._worker = settings, worker
        self._written = self._looked = time.monotonic()
        self._gone: set[str] = set()
        if worker.rank == 0:
            worker.stop_asked()  # tells whom it asks that from now on there is something to keep

    def is_checkpoint(self, step: int) -> bool:
        """Say whether a checkpoint is due after ``step`` steps whatever the clock says."""
        every = self._settings.every_steps
        return every is not None and step % every == 0

    def due(self, step: int) -> str | None:
        """Ask whether a checkpoint is due now, and why: ``time``, ``preemption`` or ``stop``; all workers must ask."""
        now = time.monotonic()
        by_time = self._settings.every_steps is None and now - self._written >= self._settings.every_s
        may_look = now - self._looked >= _LOOK_EVERY_S
        stop = may_look and self._worker.rank == 0 and self._worker.stop_asked()
        due, look, stop = self._worker.agree(by_time, may_look, stop)
        if stop:
            return "stop"
        why = "time" if due or self.is_checkpoint(step) else None
        if look:
            self._looked = now
            if new := set(self._worker.nodes_to_go()) - self._gone:
                self._gone |= new
                why = "preemption"
        if why:
            self._written = now
        return why
