"""SIGTERM, which schedulers send before they kill, as an interruption: the command ends in order, as on Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_interrupts() -> Iterator[threading.Event]:
    """Raise KeyboardInterrupt in the main thread on SIGTERM for as long as the block runs; elsewhere do nothing.

    Yields:
        an event that is set when SIGTERM has come. An exception of its own would not do: what it passes through may
        raise another KeyboardInterrupt in its place.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came  # Python sets handlers in the main thread alone
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        # One is enough: a second one while what runs is being ended would leave the rest of it behind.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        came.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """Put the handler of SIGTERM back after a block in which a library sets its own: Ray does, when it starts."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
