"""Watch the Ray that a command has started: where its services die, the command ends at once, and leaves nothing.

Ray itself waits a minute for a control service (the GCS) that is gone, since on a cluster it may come back; of a Ray of
one's own it does not. And the agents of a node whose service (the raylet) is gone look for it once a minute.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from pipelines.base.disk import full_disk
from pipelines.base.errors import UserError

# Between two looks: at the services, and at which processes there are, which costs a look at all of the machine.
_EVERY_S, _PROCESSES_EVERY_S = 0.5, 5.0
_AGAIN_S = 2.0  # between two interruptions
_SERVICES = {"gcs_server": "its control service (GCS)", "raylet": "the service of its node (raylet)"}


class RayLostError(Exception):
    """The Ray of this command has died; what was written is kept."""


def own_processes() -> frozenset[psutil.Process]:
    """Return the processes that this one has started."""
    return frozenset(psutil.Process().children())


@contextmanager
def ending_with_ray(others: frozenset[psutil.Process]) -> Iterator[None]:
    """Raise in the block, in the main thread, soon after a service of the Ray that this process has started is gone.

    Then all processes of that Ray are ended. In another thread than the main one nothing is watched. On the way through
    the block it is a KeyboardInterrupt, the one exception that Ray takes out of what it waits for, again every two
    seconds: what is done to end in order may wait for Ray, too.

    Args:
        others: what :func:`own_processes` returned before Ray was started.

    Raises:
        RayLostError: it is gone; names the service.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGURG"):
        yield
        return
    watch = _Watch(own_processes() - others)
    # A signal that is ignored where nobody handles it, so one that comes late does nothing.
    before = signal.signal(signal.SIGURG, watch.on_signal)
    looking = threading.Thread(target=watch.look, name="ray-watch", daemon=True)
    looking.start()
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:  # also an error of Ray's that came before the next look
        watch.lost = watch.lost or watch.dead()
        if watch.lost is None or isinstance(error, UserError) or full_disk(error) is not None:
            raise
        cause = None if isinstance(error, KeyboardInterrupt) else error
        raise RayLostError(f"{watch.lost} has died; what was written is kept, and the same command goes on") from cause
    finally:
        watch.over.set()
        looking.join()
        signal.signal(signal.SIGURG, before)
        if watch.lost is not None:
            watch.end_all()


class _Watch:
    """Looks at the services of a Ray of this process."""

    def __init__(self, roots: frozenset[psutil.Process]) -> None:
        self.over = threading.Event()
        self.lost: str | None = None
        self._roots, self._below = roots, set[psutil.Process]()
        self._services = {one: _SERVICES[name] for one in roots if (name := _name(one)) in _SERVICES}

    def dead(self) -> str | None:
        """Return what a service that has died is called; None where all of them live."""
        return next((what for one, what in self._services.items() if not _lives(one)), None)

    def on_signal(self, *_: object) -> None:
        """Raise in the main thread, where Ray is lost."""
        if self.lost is not None and not self.over.is_set():
            raise KeyboardInterrupt

    def look(self) -> None:
        """Look until the block has ended; where a service has died, wake the main thread until it has left it."""
        noted = float("-inf")
        while not self.over.wait(_EVERY_S if self.lost is None else _AGAIN_S):
            self.lost = self.lost or self.dead()
            if self.lost is not None:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)
            elif time.monotonic() - noted > _PROCESSES_EVERY_S:
                noted = time.monotonic()
                self._note_processes()

    def end_all(self) -> None:
        """Kill what is left of Ray's processes: those that were seen, and theirs."""
        self._note_processes()
        every = [*self._roots, *self._below]
        for process in every:
            with suppress(psutil.Error):
                process.kill()  # psutil looks whether it is still the same process
        psutil.wait_procs(every, timeout=5)

    def _note_processes(self) -> None:
        """Note the processes below those that were started: an agent whose node has died is nobody's child any more."""
        for one in self._roots:
            with suppress(psutil.Error):
                self._below |= set(one.children(recursive=True))


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return process.name()
    return ""


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
