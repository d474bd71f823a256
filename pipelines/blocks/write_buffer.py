"""A reusable buffer in which block files are assembled."""

import mmap
from contextlib import suppress


class WriteBuffer:
    """Memory that grows and is used again: pages of a new block would each be cleared by the system first."""

    def __init__(self) -> None:
        self._memory = _allocated(mmap.PAGESIZE)

    def at_least(self, size: int) -> memoryview:
        """Return memory of ``size`` bytes or more; what it held before is not kept."""
        if size > len(self._memory):
            self._memory = _allocated(size)
        return memoryview(self._memory)

    def lend(self) -> None:
        """Let the system have the memory back when it needs some; until then, it costs nothing to use it again."""
        if hasattr(mmap, "MADV_FREE"):
            with suppress(OSError):
                self._memory.madvise(mmap.MADV_FREE)


def _allocated(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux: what is asked for in pieces of 2 MiB is had in a tenth of the time
        with suppress(OSError):  # a system that was built without
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
