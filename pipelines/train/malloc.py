"""Keep freed memory in the process for the next step (glibc malloc settings)."""

import ctypes
import platform

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER, _NONE = -1, 0

# What a process must be started with, too: threads (Ray Train trains in one) would otherwise get heaps of their own,
# of 64 MiB at most, which are given back in any case.
HEAP_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}


def disable_malloc_trim() -> None:
    """Have this process keep the memory that it frees; does nothing where the C library is not glibc.

    What a network's layers put out are blocks of megabytes, the same ones in every step. Left alone, glibc gives most
    of them back to the system when they are freed, and the system clears each page anew at the next step: up to a third
    of the time of a small CNN's step (docs/benchmarks.md).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_MAX, _NONE)  # large blocks come from the heap too,
    mallopt(_M_TRIM_THRESHOLD, _NEVER)  # which does not shrink
