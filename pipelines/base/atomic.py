"""Atomic file writes: a file appears whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path``; a reader, or a crash at any moment, meets the old file or the new one."""
    with writing_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes ``path``'s place when the block ends, and is gone if it raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        with open(scratch, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(scratch, 0o644)
        try:
            os.replace(scratch, path)
        except FileNotFoundError:
            if not path.exists():  # else somebody else wrote the same and cleared up
                raise
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def clear_scratch(folder: Path) -> None:
    """Delete what writes that were killed have left beside the files that have been written since."""
    for scratch in folder.glob(".*.*"):
        if (folder / scratch.name[1:].rpartition(".")[0]).exists():
            scratch.unlink(missing_ok=True)
