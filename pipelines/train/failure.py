"""Failures that a retry cannot mend: recorded, reported once, and not retried."""

import json

from pipelines.base.plain_json import read_json
from pipelines.base.storage import delete, join, write_whole
from pipelines.experiment.run import Run
from pipelines.train.assignment import WorkerAssignment

FAILURE = "failure.json"


def is_peer_failure(error: Exception) -> bool:
    """Say whether an error comes from another worker's death, or from Ray's taking the workers' process group away to
    start another number of them: the run can continue with other workers."""
    from torch.distributed import DistError

    message = str(error)
    # Where the group is gone by the time of the next collective, torch raises a ValueError.
    return isinstance(error, DistError) or (
        type(error) in (RuntimeError, ValueError)
        and any(word in message for word in ("gloo", "NCCL", "Connection", "process group"))
    )


def note_failure(work: WorkerAssignment, run: Run, error: Exception) -> None:
    """Write down why a run failed in this attempt."""
    message = str(error).strip() or type(error).__name__
    write_whole(join(work.folder(run), FAILURE), json.dumps({"attempt": work.attempt, "error": f"{run}, {message}"}))


def failure_of(work: WorkerAssignment, run: Run) -> str | None:
    """Return why a run failed in this attempt, or None."""
    try:
        noted = read_json(join(work.folder(run), FAILURE))
        return str(noted["error"]) if noted["attempt"] == work.attempt else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def forget_failure(work: WorkerAssignment, run: Run) -> None:
    """Delete what stands of failures: the run has ended well."""
    delete(join(work.folder(run), FAILURE))
