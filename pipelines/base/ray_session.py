"""The Ray session of a command: the cluster of RAY_ADDRESS, or a local Ray that ends with the command."""

import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from pipelines.base.errors import UserError
from pipelines.base.lost_nodes import telling_of_lost_nodes
from pipelines.base.own_packages import worker_environment
from pipelines.base.progress import bar
from pipelines.base.ray_watch import RayLostError, ending_with_ray, own_processes
from pipelines.base.termination import sigterm_kept

# Read by Ray when it is imported, and by Ray Train in the processes that it starts.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    # How often Ray Train's controller looks at its workers; the default of 2 s is what a short run waits for.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}

_OF_OWN_RAY = {
    "RAY_TRAIN_METRICS_ENABLED": "0",  # nobody reads them there
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it listens on loopback alone; Ray would take the machine's address
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes its one node away, so no actor need watch for that
}

# What Ray Data 2.60 calls its threads.
_OF_RAY_DATA = ("StreamingExecutor", "iter_threaded", "Prefetcher", "ray-data-metadata-prefetch")
_LONGEST_END_S = 10.0
JOB = "KINDRED_JOB"  # set to 1 in the environment of a job
_LONGEST_WAIT_S = 8.0  # for a cluster's head to answer
# RFC 9113: what a client says first, with a SETTINGS frame of nothing; the server's first frame is one too.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
_FRAME_HEADER, _SETTINGS_FRAME = 9, 4
# A socket's path has 107 bytes; of these /kindred-<8>/r are ours, and Ray's are
# /session_<date>_<time>_<microseconds>_<process>/sockets/<name>
_LONGEST_BASE = 22
_TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - a name


@contextmanager
def ray_session(verbose: bool = False) -> Iterator[None]:
    """Connect to Ray for as long as the block runs; what was started is shut down, also on Ctrl-C.

    Args:
        verbose: let Ray's own log lines through.
    """
    is_local = is_own_ray()
    if not is_local:
        check_somebody_answers(os.environ["RAY_ADDRESS"])
    for name, value in (_QUIET | (_OF_OWN_RAY if is_local else {})).items():
        os.environ.setdefault(name, value)
    with bar("load Ray", None, ""):
        import ray

    if ray.is_initialized():  # somebody else's, a test's for instance
        yield
        return
    level = logging.INFO if verbose else logging.ERROR
    folder = private_temporary_folder() if is_local else None
    token = folder is not None and set_own_token(folder)
    others = own_processes()
    with bar("start Ray" if is_local else "join Ray", None, ""), sigterm_kept():
        ray.init(
            # Ray opens its own folder to everybody; the one around it stays this user's.
            _temp_dir=os.path.join(folder, "r") if folder else None,
            # "local": Ray would otherwise join a cluster that somebody else of this machine has started.
            address="local" if is_local else None,
            include_dashboard=False if is_local else None,
            _node_ip_address="127.0.0.1" if is_local else None,
            runtime_env=worker_environment() or None,
            log_to_driver=verbose,
            logging_level=level,
        )
        _quiet_loggers(level)
    is_lost = False
    try:
        with ending_with_ray(others) if is_local else telling_of_lost_nodes():
            yield
    except RayLostError:
        is_lost = True
        raise
    finally:
        try:
            if not is_lost:
                _wait_for_ray_data()
        finally:
            ray.shutdown()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if token:
                del os.environ[_TOKEN_PATH]


_to_start: list[Callable[[], None]] = []  # of the blocks of ray_on_demand that have needed none yet, the innermost last


@contextmanager
def ray_on_demand(verbose: bool = False) -> Iterator[list[Callable[[], None]]]:
    """Have :func:`need_ray` connect to Ray in the block; what was started by then is shut down at its end.

    Starting Ray takes seconds, and a command that finds everything done needs none.

    Args:
        verbose: let Ray's own log lines through.

    Yields:
        a list for what is to be called when Ray is there.
    """
    then: list[Callable[[], None]] = []
    with ExitStack() as session:

        def start() -> None:
            session.enter_context(ray_session(verbose))
            for call in then:
                call()

        _to_start.append(start)
        try:
            yield then
        finally:
            if start in _to_start:
                _to_start.remove(start)


def need_ray() -> None:
    """Connect to Ray, if that has been put off until it is needed; else whoever calls has seen to it."""
    ray = sys.modules.get("ray")
    if _to_start and not (ray is not None and ray.is_initialized()):
        _to_start.pop()()


def is_own_ray() -> bool:
    """Say whether this command's Ray is one of this machine's own; in the process of the command."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


def is_job() -> bool:
    """Say whether this process is what a cluster runs of a job (``kindred submit``); in the process of the command."""
    return os.environ.get(JOB) == "1"


def leave_job_folder() -> None:
    """Leave the folder that came with a job, when the case is read: a node that goes may take the folder along, and a
    process whose working folder is gone fails in unexpected places."""
    if is_job():
        os.chdir("/")


def private_temporary_folder() -> str:
    """Make a folder for a Ray of one's own: its token, logs and sockets, which Ray itself lets everybody read.

    Its path is short: sockets have at most 107 bytes. Where the system's temporary folder is too long for them, another
    one is taken.

    Returns:
        the folder, open to this user alone, to be removed when Ray has ended.

    Raises:
        UserError: no folder with a short path can be written to.
    """
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), None)
    base = os.environ[variable] if variable else "/tmp"  # noqa: S108 - Ray's own choice
    short = [base] if len(os.fsencode(base)) <= _LONGEST_BASE else []
    for parent in (*short, "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - a folder of its own is made there
        try:
            return tempfile.mkdtemp(prefix="kindred-", dir=parent)
        except OSError:
            continue
    raise UserError(
        f"{variable or 'temporary folder'}: found {base!r}, {len(os.fsencode(base))} bytes; expected a folder that can "
        f"be written to, of at most {_LONGEST_BASE} bytes for the paths of Ray's sockets (RAY_TMPDIR sets one for Ray)"
    )


@cache
def _own_token() -> str:
    """Return this process's token: Ray keeps the first one that a process has read."""
    return secrets.token_hex(32)


def set_own_token(folder: str) -> bool:
    """Keep the token of a Ray of one's own beside it, where Ray's place for it, ~/.ray, cannot be written to.

    Args:
        folder: the session's, open to this user alone.

    Returns:
        whether it had to be; then the environment says where it is.
    """
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", _TOKEN_PATH)):
        return False
    place = os.path.join(os.path.expanduser("~"), ".ray")
    try:
        os.makedirs(place, exist_ok=True)
        if os.access(os.path.join(place, "auth_token"), os.R_OK) or os.access(place, os.W_OK | os.X_OK):
            return False
    except OSError:  # a home of no rights, or none
        pass
    file = os.path.join(folder, "token")
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(_own_token())
    os.environ[_TOKEN_PATH] = file
    return True


def check_somebody_answers(address: str) -> None:
    """Refuse an address at which no Ray listens: Ray would ask again and again for many minutes.

    Raises:
        UserError: names RAY_ADDRESS.
    """
    if address == "auto":  # Ray looks for a cluster of this machine, and says at once that there is none
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise UserError(
            f"RAY_ADDRESS: found {address!r}; expected HOST:PORT of a cluster's head, or the variable unset"
        )
    deadline, why = time.monotonic() + _LONGEST_WAIT_S, "no answer"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_LONGEST_WAIT_S / 2) as answering:
                if os.environ.get("RAY_USE_TLS", "0") not in ("", "0") or _speaks_http2(answering):
                    return
                why = "somebody listens there, and it is no Ray"
                break
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error) or why
        time.sleep(0.5)  # a head that has just been started
    raise UserError(
        f"RAY_ADDRESS: found {address!r}, and no Ray answers there ({why}); expected the address of a running cluster, "
        "or the variable unset, for a Ray of this machine's own"
    )


def _speaks_http2(answering: socket.socket) -> bool:
    """Say whether a connection's other end begins as gRPC does, which a head and a client server of Ray speak."""
    answering.settimeout(_LONGEST_WAIT_S / 2)
    try:
        answering.sendall(_HTTP2_PREFACE)
        received = b""
        while len(received) < _FRAME_HEADER:
            if not (more := answering.recv(_FRAME_HEADER - len(received))):
                return False
            received += more
    except OSError:  # silent, or gone
        return False
    return received[3] == _SETTINGS_FRAME


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
