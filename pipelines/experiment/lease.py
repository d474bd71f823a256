"""A lease on an experiment: one command trains it at a time, and one that has died holds nothing up.

A file in the experiment's folder says who trains, with a number that grows while that process lives. Whoever finds it
looks whether the process is there, on the same machine, or whether the number still grows, by a clock of its own: the
clocks of two machines, or of one that was set, say nothing.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.plain_json import read_json
from pipelines.base.progress import bar
from pipelines.base.storage import StorageUnavailableError, delete, join, write_whole

LEASE = ".training.json"
_BEAT_S = 5.0
_STALE_AFTER_S = 30.0  # without a beat
_SETTLED_AFTER_S = 0.2  # two that write at once both look again after this: the last one's file stands


@contextmanager
def training_lease(experiment: str, *, wait: bool = False, look_every_s: float = 1.0) -> Iterator[None]:
    """Hold the lease of an experiment while the block runs.

    Args:
        experiment: its folder, a path or URL.
        wait: wait until whoever trains it has ended.
        look_every_s: how often to look.

    Raises:
        UserError: another process trains it, and ``wait`` is False.
    """
    file, own = join(experiment, LEASE), _myself()
    _take(file, own, wait, look_every_s)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(file, own, ended), daemon=True, name="training-lease")
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with suppress(StorageUnavailableError, OSError):  # it is stale soon
            if (_read(file) or {}).get("holder") == own["holder"]:
                delete(file)


def _take(file: str, own: dict[str, Any], wait: bool, look_every_s: float) -> None:
    seen: tuple[Any, Any] | None = None
    changed = time.monotonic()
    with bar("wait for another training", None, "") as shown:
        while True:
            other = _read(file)
            if other is None or _is_gone(other):
                write_whole(file, json.dumps(own))
                time.sleep(_SETTLED_AFTER_S)
                if (_read(file) or {}).get("holder") == own["holder"]:
                    return
                continue
            now = (other.get("holder"), other.get("beat"))
            lives = _is_here(other) or (seen is not None and now != seen)
            if lives and not wait:
                raise UserError(
                    f"{file}: process {other.get('process')} on {other.get('host')} trains this experiment; "
                    "expected one training at a time (--wait waits until it has ended)"
                )
            if now != seen:
                seen, changed = now, time.monotonic()
            elif time.monotonic() - changed > _STALE_AFTER_S and not _is_here(other):
                delete(file)  # it has said nothing for long
                continue
            shown.show(0, f"process {other.get('process')} on {other.get('host')}")
            time.sleep(look_every_s)


def _beat(file: str, own: dict[str, Any], ended: threading.Event) -> None:
    beat = 0
    while not ended.wait(_BEAT_S):
        beat += 1
        with suppress(StorageUnavailableError, OSError):  # the training itself will say so
            if (_read(file) or own).get("holder") != own["holder"]:
                return  # taken over: this machine was still for so long that it was taken for dead
            write_whole(file, json.dumps(own | {"beat": beat}))


def _read(file: str) -> dict[str, Any] | None:
    try:
        found = read_json(file)
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _myself() -> dict[str, Any]:
    return {
        "holder": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "machine": _machine(),
        "process": os.getpid(),
        "started": _started(os.getpid()),
        "beat": 0,
    }


def _is_here(other: dict[str, Any]) -> bool:
    """Say whether the holder is a process of this machine that lives."""
    return other.get("machine") == _machine() and not _is_gone(other)


def _is_gone(other: dict[str, Any]) -> bool:
    """Say whether the holder was a process of this machine, and has ended."""
    if other.get("machine") != _machine():
        return False
    started = _started(other.get("process"))
    return started is None or started != other.get("started")


def _machine() -> str:
    """Name the machine as it has been started, and the processes of it that this one can see."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux: nothing is known of other processes but what they write
        return uuid.uuid4().hex


def _started(process: Any) -> str | None:
    """Return when a process was started, by which one of the same number is told apart; None where there is none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
