"""Files written past the system's page cache: what is written once and not read soon need not take its memory.

Handing the cache a page costs more than copying it where free memory must first be had from a hypervisor, and what was
in the cache before is pushed out.
"""

import errno
import fcntl
import mmap
import os
from contextlib import suppress

_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux has it; without it, files are written as any others

# What a file system says that cannot write directly after all, that wants larger pages, or has taken half of one.
_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


class WriteBuffer:
    """Memory that begins on a page, as direct writing asks for, and grows; what was in use before costs nothing."""

    def __init__(self) -> None:
        self._pages = _pages(mmap.PAGESIZE)

    def at_least(self, size: int) -> memoryview:
        """Return memory of ``size`` bytes or more, whole pages; what it held before is not kept."""
        if size > len(self._pages):
            self._pages = _pages(_whole_pages(size))
        return memoryview(self._pages)

    def lend(self) -> None:
        """Let the system have the memory back when it needs some; until then, it costs nothing to use it again."""
        if hasattr(mmap, "MADV_FREE"):
            with suppress(OSError):
                self._pages.madvise(mmap.MADV_FREE)


def write_directly(file: str, pages: memoryview, size: int) -> None:
    """Write the first ``size`` bytes of ``pages`` as the whole of a file that is there and empty.

    A file system that cannot write directly is written to as always.

    Args:
        file: the path.
        pages: of :class:`WriteBuffer`, whole pages.
        size: of the content, in bytes.

    Raises:
        OSError: as of any other write.
    """
    end = _whole_pages(size)
    assert len(pages) >= end
    descriptor = os.open(file, os.O_WRONLY)
    try:
        direct, at = _set_direct(descriptor, True), 0
        while at < end:
            try:
                at += os.write(descriptor, pages[at:end])
            except OSError as error:
                if not direct or error.errno not in _REFUSED:
                    raise
                direct = _set_direct(descriptor, False)
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _set_direct(descriptor: int, direct: bool) -> bool:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT if direct else flags & ~_DIRECT)
    except OSError:
        return False
    return direct and _DIRECT != 0


def _pages(size: int) -> mmap.mmap:
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux: what is asked for in pieces of 2 MiB is had in a tenth of the time
        with suppress(OSError):  # a system that was built without
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def _whole_pages(size: int) -> int:
    return -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
