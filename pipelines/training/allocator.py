"""Let a process keep the memory that it frees: a step allocates what the step before it has freed."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt's numbers, from malloc.h
_AS_MUCH_AS_IT_TAKES = (1 << 30, 1 << 25)  # the second is the most that older C libraries accept


def keep_freed_memory() -> bool:
    """Tell the C library's allocator not to give large blocks back to the system; say whether it does so.

    By default every activation of some megabytes is mapped anew in every step, and each of its pages is filled with
    zeros by the kernel when it is first touched: on the CPU that was a tenth of a small network's step. A process
    then stays as large as it was at its largest step, which is what the next step needs anyway. Other C libraries
    than glibc are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mapped = any(mallopt(_MMAP_THRESHOLD, size) for size in _AS_MUCH_AS_IT_TAKES)
    return mapped and bool(mallopt(_TRIM_THRESHOLD, _AS_MUCH_AS_IT_TAKES[0]))
