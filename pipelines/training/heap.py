"""The memory that a step frees is kept for the next one."""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_AT_LEAST = 32 << 20  # what blocks the system is asked for one by one; glibc takes no more
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees; does nothing where the C library is not glibc.

    What a network's layers put out are blocks of megabytes, the same ones in every step. Left alone, glibc gives most
    of them back to the system when they are freed, and the system clears each page anew at the next step: a quarter of
    the time of a small CNN's step (docs/training.md). Blocks of 32 MiB and more still come and go.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _AT_LEAST)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
