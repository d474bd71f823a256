"""log.jsonl: the metrics and events of a run as JSON Lines.

Its lines are part of the run's state: one that resumes from a checkpoint of step s keeps the lines up to s and writes
the rest anew. So no step is missing in the file, and none stands there twice, whatever was killed in between.
"""

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType

from pydantic import BaseModel, ConfigDict

from pipelines.base.storage import StorageUnavailableError, is_remote, join, write_whole
from pipelines.train.checkpoints.file import Event
from pipelines.train.logs.step_metrics import StepMetrics

LOG = "log.jsonl"


class LogLine(BaseModel):
    """A line; what it does not tell is left out.

    Attributes:
        step: the number of steps that are done.
        time: when, ISO 8601 in UTC.
        loss: of the last step, over the global batch.
        parts: of the loss, before their weights, by name.
        lr: the last step's learning rate.
        rows_per_s: rows of the global batch a second since the last line.
        data_wait: the share in [0, 1] of that time that the first worker waited for data.
        validation: metrics by task and metric; those that are defined.
        score: of this validation, which chooses the best; higher is better.
        event: something that happened to the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: int
    time: str
    loss: float | None = None
    parts: dict[str, float] | None = None
    lr: float | None = None
    rows_per_s: float | None = None
    data_wait: float | None = None
    validation: dict[str, dict[str, float]] | None = None
    score: float | None = None
    event: str | None = None


class RunLog:
    """The log of a run, in its folder: appended to on disk; in object storage, written whole with every checkpoint.

    A log that cannot be written stops no run: what is missing is written the next time.

    Args:
        folder: the run's, a path or a URL.
        lines: those of the run's state, which grows by what is told.
    """

    def __init__(self, folder: str, lines: list[str]) -> None:
        self._url, self._lines = join(folder, LOG), lines
        self._events = sum(1 for line in lines if "event" in json.loads(line))
        self._uploads = ThreadPoolExecutor(1, "log") if is_remote(folder) else None
        self._upload: Future[None] | None = None
        self._whole = False  # whether the file has all lines
        self._write_all()  # without the lines of steps that will be done again

    def note(self, events: Sequence[Event]) -> None:
        """Add the run's events that were not told yet."""
        logged, self._events = self._events, len(events)
        self._add([LogLine(step=event.step, time=_now(), event=event.what) for event in events[logged:]])

    def tell(self, metrics: StepMetrics) -> None:
        """Add what is seen."""
        self._add(
            [
                LogLine(
                    step=metrics.step,
                    time=_now(),
                    loss=metrics.loss,
                    parts=dict(metrics.parts),
                    lr=metrics.lr,
                    rows_per_s=round(metrics.rows_per_s, 1),
                    data_wait=round(metrics.data_wait, 4),
                    validation=_by_task(metrics.validation) or None,
                    score=metrics.score,
                )
            ]
        )

    def _add(self, added: Sequence[LogLine]) -> None:
        text = [line.model_dump_json(exclude_none=True) for line in added]
        self._lines += text
        if text and self._uploads is None:
            self._append(text)

    def keep(self) -> None:
        """Have the file written where it cannot be appended to: a checkpoint is being written."""
        # One upload at a time, of what stands by then: slow storage gets fewer and delays no step.
        if self._uploads is not None and (self._upload is None or self._upload.done()):
            self._upload = self._uploads.submit(self._write, _file(self._lines))

    def _append(self, text: Sequence[str]) -> None:
        if not self._whole:
            self._write_all()
            return
        try:
            with open(self._url, "a", encoding="utf-8") as file:
                file.write(_file(text))
        except OSError:
            self._whole = False

    def _write_all(self) -> None:
        self._write(_file(self._lines))

    def _write(self, content: str) -> None:
        try:
            write_whole(self._url, content)
            self._whole = True
        except (OSError, StorageUnavailableError):
            self._whole = False

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._uploads is not None:
            self._uploads.submit(self._write_all)
            self._uploads.shutdown()
        elif not self._whole:
            self._write_all()


def _file(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _by_task(validation: Mapping[str, float]) -> dict[str, dict[str, float]]:
    metrics: dict[str, dict[str, float]] = {}
    for column, value in validation.items():
        task, _, metric = column.partition(".")
        if not math.isnan(value):
            metrics.setdefault(task, {})[metric] = value
    return metrics
