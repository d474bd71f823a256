"""Atomic file writes: a file appears whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipelines.base.disk import naming


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path``; a reader, or a crash at any moment, meets the old file or the new one."""
    with writing_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes ``path``'s place when the block ends, and is gone if it raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic only within one file system.
    scratch = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    # Not as mkstemp does: who may read it is for the umask to say. Shared storage has other readers, faces have none.
    with naming(path):
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with naming(path), open(descriptor, "wb") as file:
            yield file
            # Before the rename: after a power failure the name must not lead to data that never reached the disk.
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(scratch, path)
        except FileNotFoundError:
            if not path.exists():  # else another process wrote the same file and cleared the scratch files
                raise
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def clear_scratch(folder: Path) -> None:
    """Delete the scratch files of killed writes whose file has been written since."""
    for scratch in folder.glob(".*.*"):
        if (folder / scratch.name[1:].rpartition(".")[0]).exists():
            scratch.unlink(missing_ok=True)
