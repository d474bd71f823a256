"""What is told of disks that are full and of folders that cannot be written to."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.base.errors import UserError

# No room, the user's quota, and the largest file that a process may write.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Let an error of a full disk name the file that was being written: the system names none."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def full_disk(error: BaseException) -> str | None:
    """Return what to tell of an error that a full disk is the cause of; None of any other.

    Args:
        error: as it was raised, also by a task of Ray, which keeps the first error as ``cause``.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        if isinstance(one, OSError) and one.errno in _FULL:
            place = f"{one.filename}: " if one.filename else ""
            why = os.strerror(one.errno).lower()
            return (
                f"{place}{why}; the file is not written, and all that was ingested and trained before is kept: with "
                "room there the same command goes on, and storage.path is where it writes (--set storage.path=DIR)"
            )
        cause = getattr(one, "cause", None)
        one = cause if isinstance(cause, BaseException) else one.__cause__ or one.__context__
    return None


def check_writable(folder: str, key: str) -> None:
    """Refuse a folder of this machine that can be neither written to nor made.

    Args:
        folder: a path.
        key: what names it in the case.

    Raises:
        UserError: says which folder it is that cannot be written to.
    """
    path = Path(folder).absolute()
    # os.path.exists is false, and Path.exists raises, where a folder above must not be looked into.
    there = next((one for one in (path, *path.parents) if os.path.exists(one)), path)
    if os.access(there, os.W_OK | os.X_OK):
        return
    raise UserError(
        f"{key}: found {folder!r}, and {there} cannot be written to; expected a folder that can be "
        f"(--set {key}=DIR sets one)"
    )
