"""Processes of the machine that a test may kill: those that it has started itself, directly or not."""

import threading
import time
from contextlib import suppress

import psutil


def descendants(named, of=None):
    """Return the processes below one (this one's) whose command line holds a word."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        try:
            if named in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def name_of(process):
    """Return a process's name; None where it has ended."""
    with suppress(psutil.Error):
        return process.name()


def lives(process):
    """Say whether a process goes on; one that nobody has waited for does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def actors(of):
    """Return the class names of the Ray actors below a process, as Ray writes them where others have their command."""
    found = set()
    for process in descendants("ray::", of=of):
        with suppress(psutil.Error, IndexError):
            found.add(process.cmdline()[0].removeprefix("ray::").partition(".")[0].strip())
    return found - {"IDLE", "DashboardAgent", "RuntimeEnvAgent"}


def ending_with(driver):
    """Return the processes below a driver that end soon after it; Ray's agents look for their node once a minute."""
    agents = descendants("Agent", of=driver.pid)
    return [process for process in descendants("", of=driver.pid) if process not in agents]


def wait_until(condition, what, seconds=120, still=lambda: True):
    """Look until a condition holds, and return what it gave; fail after so many seconds, or if ``still`` ends."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (found := condition()):
        assert still(), f"it ended before {what}"
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        pause.wait(0.02)
    return found
