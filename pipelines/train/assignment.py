"""What a group of workers is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import Run
from pipelines.train.logs.step_metrics import StepMetrics


@dataclass(frozen=True)
class WorkerAssignment:
    """Runs of one case, one after the other.

    Attributes:
        case: the case.
        runs: what to train.
        data_sets: the datasets, ingested.
        experiment: the experiment's folder.
        attempt: names this call of the trainer, whatever workers come and go in it.
        allow_version_mismatch: go on from checkpoints that other code or another torch has made, too.
        on_progress: called by the first worker with how a run stands, now and then.
    """

    case: Case
    runs: tuple[Run, ...]
    data_sets: DataSets
    experiment: str
    attempt: str
    allow_version_mismatch: bool = False
    on_progress: Callable[[StepMetrics], None] | None = None

    def folder(self, run: Run) -> str:
        """Return where a run lies."""
        return run.folder(self.experiment)

    def can_resume_from(self, made: dict[str, Any]) -> bool:
        """Say whether a run can go on from what was made from this."""
        now = provenance(self.data_sets)
        return made["blocks"] == now["blocks"] if self.allow_version_mismatch else made == now
