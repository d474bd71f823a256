"""Asynchronous checkpoint writing: a step waits for a copy of the state, not for the storage."""

import threading
from types import TracebackType

from pipelines.base.storage import StorageUnavailableError
from pipelines.train.checkpoints.file import Checkpoint
from pipelines.train.checkpoints.store import checkpoint_names, write_checkpoint

# Failed writes in a row before the run ends: one is forgiven, since the disk may have room, or the storage answer, by
# the time of the next.
_TOLERATED = 1


class CheckpointNotWrittenError(RuntimeError):
    """Checkpoints cannot be written; the message says why, and from which checkpoint the run can be resumed."""


class CheckpointWriter:
    """A thread that writes the newest checkpoint it was given.

    A checkpoint that is still waiting when a newer one arrives is dropped, so slow storage receives fewer checkpoints
    and delays no step.

    Args:
        folder: of the run's checkpoints, a path or a URL.
        keep: how many are kept.
    """

    def __init__(self, folder: str, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._waiting: Checkpoint | None = None
        self._busy = self._closed = False
        self._failures: list[str] = []  # since the last successful write
        self._changed = threading.Condition()
        # A daemon: a process that ends on an error is not held up by storage that does not answer.
        self._thread = threading.Thread(target=self._write_all, name="checkpoints", daemon=True)
        self._thread.start()

    def put(self, checkpoint: Checkpoint) -> None:
        """Have a checkpoint written soon; its tensors must not change any more.

        Raises:
            CheckpointNotWrittenError: the last ones could not be written.
        """
        with self._changed:
            self._check()
            self._waiting = checkpoint
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until what was put is written.

        Raises:
            CheckpointNotWrittenError: it could not be written.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None and not self._busy)
            self._check(tolerated=0)

    def _check(self, tolerated: int = _TOLERATED) -> None:
        if len(self._failures) <= tolerated:
            return
        names = checkpoint_names(self._folder)
        newest = f"; the newest that is whole is {names[0]}" if names else ""
        raise CheckpointNotWrittenError(f"{self._folder}: no checkpoint can be written: {self._failures[-1]}{newest}")

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                checkpoint, self._waiting = self._waiting, None
                if checkpoint is None:
                    return
                self._busy = True
            problem = self._written(checkpoint)
            with self._changed:
                self._failures = [] if problem is None else [*self._failures, problem]
                self._busy = False
                self._changed.notify_all()

    def _written(self, checkpoint: Checkpoint) -> str | None:
        # A checkpoint with NaN weights would replace good ones, and no run could be resumed from it.
        not_finite = [
            name for name, t in checkpoint.tensors.items() if name.startswith("network.") and not t.isfinite().all()
        ]
        if not_finite:
            return (
                f"step {checkpoint.about.step}: {not_finite[0][8:]} of the network is not finite; a lower lr may help"
            )
        try:
            write_checkpoint(self._folder, checkpoint, self._keep)
        except (OSError, StorageUnavailableError) as error:
            return getattr(error, "strerror", None) or str(error)  # the folder is told with it
        return None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is waiting, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
