"""The checkpoint store: a run's checkpoint folder, on disk or in object storage; the newest valid file counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.base.storage import delete, is_remote, join, list_folder, read_bytes, write_whole
from pipelines.train.checkpoints.file import (
    PREFIX,
    About,
    Checkpoint,
    NotACheckpointError,
    about_in,
    pack,
    step_of,
    unpack,
)

CHECKPOINTS, FINAL = "checkpoints", "final"


def write_checkpoint(folder: str, checkpoint: Checkpoint, keep: int) -> str:
    """Write a checkpoint whole or not at all, then delete all but the newest ``keep``; return its name.

    Raises:
        OSError: the disk does not take it; the older ones are kept.
        StorageUnavailableError: object storage does not take it; the older ones are kept.
    """
    name, content = pack(checkpoint)
    write_whole(join(folder, name), content)
    # Only after the new one is whole: at every moment there is a checkpoint to resume from.
    for old in checkpoint_names(folder)[keep:]:
        if old != name:
            delete(join(folder, old))
    return name


def newest_checkpoint(folder: str, accept: Callable[[dict[str, Any]], bool], tell: Callable[[str], None]) -> str | None:
    """Return the name of the newest checkpoint that is whole and accepted, or None.

    Args:
        folder: of the run's checkpoints; need not be there.
        accept: says, from a checkpoint's provenance, whether a run can be resumed from it.
        tell: called with every file that is passed over, and why.

    Raises:
        StorageUnavailableError: object storage does not answer.
    """
    for name in checkpoint_names(folder):
        try:
            # Read in full, tensors included: what is found here must not turn out damaged on a worker.
            provenance = read_checkpoint(folder, name).about.provenance
        except FileNotFoundError:  # a newer one has taken its place
            continue
        except NotACheckpointError as error:
            tell(str(error))
            continue
        if accept(provenance):
            return name
        tell(f"{name}: made by other code or from other data")
    return None


def read_checkpoint(folder: str, name: str) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        FileNotFoundError: there is none of this name.
        NotACheckpointError: the file is not whole.
        StorageUnavailableError: object storage does not answer.
    """
    return unpack(name, read_bytes(join(folder, name)))


def read_about(folder: str, name: str) -> About:
    """Read what a checkpoint says of itself; the whole file is read, since its hash is over all bytes.

    Raises:
        FileNotFoundError: there is none of this name.
        NotACheckpointError: the file is not whole, says nothing, or is of an unknown format.
        StorageUnavailableError: object storage does not answer.
    """
    return about_in(name, read_bytes(join(folder, name)))


def checkpoint_names(folder: str) -> list[str]:
    """Return the names of a run's checkpoints, the newest first."""
    named = [(step, name) for name in list_folder(folder) if (step := step_of(name)) is not None]
    return [name for _, name in sorted(named, reverse=True)]


def delete_checkpoints(folder: str) -> None:
    """Delete a run's checkpoints, after it has ended and its results are written."""
    for name in checkpoint_names(folder):
        delete(join(folder, name))


def clear_unfinished(folder: str) -> None:
    """Delete the scratch files of writers that were killed; object storage has none."""
    if not is_remote(folder):
        for scratch in Path(folder).glob(f".{PREFIX}*"):
            scratch.unlink(missing_ok=True)
