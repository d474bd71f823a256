"""The assignment that a group of workers trains: its runs and settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import Run
from pipelines.train.logs.step_metrics import StepMetrics


@dataclass(frozen=True)
class Pause:
    """Where a run stops before its end, to go on from there, or another run of other settings.

    Attributes:
        step: after so many steps, at a validation.
        folder: its state is written there, as a checkpoint.
        keep: how many states stay there.
    """

    step: int
    folder: str
    keep: int = 2


@dataclass(frozen=True)
class WorkerAssignment:
    """Runs of one case, one after the other.

    Attributes:
        case: the case.
        runs: what to train.
        data_sets: the datasets, ingested.
        experiment: the experiment's folder.
        attempt: names this call of the trainer, the same for all workers that join or leave during it.
        allow_version_mismatch: resume also from checkpoints of another version of Kindred or torch.
        on_progress: called by the first worker with a run's metrics, at intervals.
        stop_asked: asked by the first worker, at intervals: whether to keep what there is and end.
        on_validation: called by the first worker with a run, its step and the metrics of a validation; says whether the
            run is to end there, before its last step.
        pause: where the runs stop before their end; they have ended then neither well nor badly.
    """

    case: Case
    runs: tuple[Run, ...]
    data_sets: DataSets
    experiment: str
    attempt: str
    allow_version_mismatch: bool = False
    on_progress: Callable[[StepMetrics], None] | None = None
    stop_asked: Callable[[], bool] | None = None
    on_validation: Callable[[Run, int, Mapping[str, float]], bool] | None = None
    pause: Pause | None = None

    def folder(self, run: Run) -> str:
        """Return where a run lies."""
        return run.folder(self.experiment)

    def can_resume_from(self, saved: dict[str, Any]) -> bool:
        """Say whether a run can be resumed from a checkpoint with this provenance."""
        current = provenance(self.data_sets)
        return saved["blocks"] == current["blocks"] if self.allow_version_mismatch else saved == current
