"""The memory that a step frees is kept for the next one."""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER, _NONE = -1, 0


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees; does nothing where the C library is not glibc.

    What a network's layers put out are blocks of megabytes, the same ones in every step. Left alone, glibc gives most
    of them back to the system when they are freed, and the system clears each page anew at the next step: up to a third
    of the time of a small CNN's step (docs/training.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, _NONE)  # large blocks come from the heap too,
        mallopt(_M_TRIM_THRESHOLD, _NEVER)  # which does not shrink
