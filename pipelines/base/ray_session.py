"""The Ray session of a command: the cluster of RAY_ADDRESS, or a local Ray that ends with the command."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.base.own_packages import worker_environment
from pipelines.base.progress import bar

# Read by Ray when it is imported, and by Ray Train in the processes that it starts.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    # How often Ray Train's controller looks at its workers; the default of 2 s is what a short run waits for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}

_OF_OWN_RAY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it listens on loopback alone; Ray would take the machine's address
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes its one node away, so no actor need watch for that
}

# What Ray Data 2.60 calls its threads.
_OF_RAY_DATA = ("StreamingExecutor", "iter_threaded", "Prefetcher", "ray-data-metadata-prefetch")
_LONGEST_END_S = 10.0


@contextmanager
def ray_session(verbose: bool = False) -> Iterator[None]:
    """Connect to Ray for as long as the block runs; what was started is shut down, also on Ctrl-C.

    Args:
        verbose: let Ray's own log lines through.
    """
    own = is_own_ray()
    for name, value in (_QUIET | (_OF_OWN_RAY if own else {})).items():
        os.environ.setdefault(name, value)
    with bar("load Ray", None, ""):
        import ray

    if ray.is_initialized():  # somebody else's, a test's for instance
        yield
        return
    level = logging.INFO if verbose else logging.ERROR
    with bar("start Ray" if own else "join Ray", None, ""):
        ray.init(
            # "local": Ray would otherwise join a cluster that somebody else of this machine has started.
            address="local" if own else None,
            include_dashboard=False if own else None,
            _node_ip_address="127.0.0.1" if own else None,
            runtime_env=worker_environment() or None,
            log_to_driver=verbose,
            logging_level=level,
        )
        _quiet_loggers(level)
    try:
        yield
    finally:
        try:
            _wait_for_ray_data()
        finally:
            ray.shutdown()


def is_own_ray() -> bool:
    """Say whether this command's Ray is one of this machine's own; in the process of the command."""
    return "RAY_ADDRESS" not in os.environ


def _wait_for_ray_data() -> None:
    """Let Ray Data's threads end: one that asks for Ray when it is gone ends the process, before an error is told."""
    deadline = time.monotonic() + _LONGEST_END_S
    for thread in threading.enumerate():
        if thread.name.startswith(_OF_RAY_DATA):
            thread.join(max(0.0, deadline - time.monotonic()))


def _quiet_loggers(level: int) -> None:
    from ray.data import DataContext

    for name in ("ray", "ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(level)
    context = DataContext.get_current()
    context.enable_progress_bars = level <= logging.INFO
    context.print_on_execution_start = level <= logging.INFO
