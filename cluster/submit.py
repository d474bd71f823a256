"""The command `kindred submit`: runs a case on a Ray cluster through its job API."""

import asyncio
import json
import os
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, TextIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import typer

from pipelines.base.errors import UserError
from pipelines.cli import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    CaseArgument,
    FreshOption,
    JsonOption,
    SetOption,
    VerboseOption,
)

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from pipelines.case.case import Case

# Ray starts it in a shell on the head, in the folder that is sent along; the cluster's Python has Kindred.
ENTRYPOINT = "python -m pipelines run case.yaml"

# Ray lets these win over the address that its client is given.
_ADDRESS_VARIABLES = ["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"]

AddressOption = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="URL",
        envvar=_ADDRESS_VARIABLES,
        help="The cluster's dashboard, such as http://127.0.0.1:8265.",
    ),
]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Send the run and leave; do not show its log.")]


def submit(
    case: CaseArgument,
    address: AddressOption,
    overrides: SetOption = [],  # noqa: B006 - read only
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
    fresh: FreshOption = False,
    no_wait: NoWaitOption = False,
) -> None:
    """Send the run to a Ray cluster, show its log, and end with its exit code.

    data_root and storage.path are the cluster's: absolute paths that every node sees. With --json the log
    goes to standard error. Ctrl-C leaves the job running. With RAY_AUTH_MODE=token the cluster is shown the
    token in RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names, or in ~/.ray/auth_token.
    """
    loaded = load_for_cluster(case, overrides)
    client = connect(address.rstrip("/"), verbose)
    entrypoint = ENTRYPOINT + (" --fresh" if fresh else "") + (" --verbose" if verbose else "")
    job = send(client, loaded, entrypoint)
    outcome: dict[str, Any]
    if no_wait:
        outcome = {"job": job, "status": "SUBMITTED", "exit_code": None}
        typer.echo(f"job {job} is submitted\n{_commands(client, job)}", err=as_json)
    else:
        typer.echo(f"job {job} is submitted; its log:", err=True)
        outcome = follow(client, job, log=sys.stderr if as_json else sys.stdout)
    if as_json:
        typer.echo(json.dumps({**outcome, "storage": loaded.storage.path}))
    raise typer.Exit(outcome["exit_code"] or 0)


def load_for_cluster(case: str, overrides: list[str]) -> "Case":
    """Read and validate a case whose paths are another machine's.

    Raises:
        UserError: the case is wrong, or a path is relative: it would lie in the job's own folder.
    """
    from pipelines.case.load import load_case

    loaded = load_case(case, overrides, check_paths=False)
    storage = loaded.storage.path
    paths: dict[str, str | None] = {"storage.path": storage, "data_root": loaded.data_root}
    if loaded.embedded and (loaded.data_root or "").startswith(f"{storage}/"):
        del paths["data_root"]  # it lies in the storage, and so is right or wrong with it
    problems = [
        f"{case}: {key}: {f'found {path!r}' if path else 'missing'}; the run is on the cluster; "
        f"expected an absolute path that every node sees (--set {key}=/PATH/ON/THE/CLUSTER)"
        for key, path in paths.items()
        if path is None or not (path.startswith("/") or "://" in path)
    ]
    if problems:
        raise UserError("\n".join(problems))
    return loaded


def connect(address: str, verbose: bool = False, answer_within: float = 10.0) -> "JobSubmissionClient":
    """Return a client of a cluster's job API that the cluster has let in.

    Args:
        address: the URL of the cluster's dashboard.
        verbose: let the client's own log lines through.
        answer_within: seconds in which the dashboard has to have said what it is, name look-up and all.

    Raises:
        UserError: the address is not a URL, no Ray dashboard answers there, or the cluster refuses the token.
    """
    _check_address(address)
    _check_dashboard(address, answer_within)
    for name in _ADDRESS_VARIABLES:
        os.environ.pop(name, None)
    import logging

    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    if not verbose:
        logging.disable(logging.INFO)  # the client's loggers set their own levels
    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        raise UserError(_what_to_set(address)) from None
    except ValueError:  # a header that cannot be sent; the error's own text holds the token
        raise UserError(
            f"{address}: the token from {_token_source()} has a character that cannot be sent, such as a "
            "line break in its middle; expected the token that the cluster was started with"
        ) from None
    except OSError as error:
        raise UserError(f"{address}: {error}") from None


def send(client: "JobSubmissionClient", case: "Case", entrypoint: str = ENTRYPOINT) -> str:
    """Submit a job that finds the case as case.yaml in its folder; return the job's id."""
    from pipelines.case.load import as_yaml

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "case.yaml").write_text(as_yaml(case), encoding="utf-8")
        job: str = client.submit_job(
            entrypoint=entrypoint, runtime_env={"working_dir": folder}, metadata={"case": case.name}
        )
    return job


def follow(client: "JobSubmissionClient", job: str, log: TextIO = sys.stdout) -> dict[str, Any]:
    """Write a job's log while it runs.

    Returns:
        ``job``, its final ``status`` (SUCCEEDED, FAILED, STOPPED) and ``exit_code``.

    Raises:
        typer.Exit: 130 on Ctrl-C, 1 where the connection is lost; the job continues in both cases.
    """
    try:
        asyncio.run(_copy_log(client, job, log))
        details = client.get_job_info(job)
    except KeyboardInterrupt:
        typer.echo(f"\njob {job} continues\n{_commands(client, job)}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Exception as error:  # aiohttp, requests and Ray each raise their own
        _say_lost(client, job, str(error) or type(error).__name__)
        raise typer.Exit(EXIT_FAILED) from None
    if not details.status.is_terminal():
        _say_lost(client, job, "the log ended before the job")
        raise typer.Exit(EXIT_FAILED)
    code = _exit_code(details)
    message = f"job {job} {details.status.lower()}" + (f", exit code {code}" if code else "")
    if details.status != "SUCCEEDED" and details.driver_exit_code is None and details.message:
        message += f": {details.message}"  # the run did not start, or lost its node: the log does not say why
    typer.echo(message, err=bool(code) or log is sys.stderr)
    return {"job": job, "status": str(details.status.value), "exit_code": code}


async def _copy_log(client: "JobSubmissionClient", job: str, log: TextIO) -> None:
    async for lines in client.tail_job_logs(job):
        log.write(lines)
        log.flush()


def _exit_code(details: Any) -> int:
    """Return the driver's exit code as a shell has it; 1 for a job that has none."""
    if details.status == "SUCCEEDED":
        return 0
    code = details.driver_exit_code or EXIT_FAILED
    return 128 - code if code < 0 else code  # negative: the signal that ended it


def _say_lost(client: "JobSubmissionClient", job: str, why: str) -> None:
    typer.echo(f"lost sight of job {job} ({why}); it may still be running\n{_commands(client, job)}", err=True)


def _commands(client: "JobSubmissionClient", job: str) -> str:
    address = f"--address {client.get_address()}"
    return f"  its log: ray job logs {address} --follow {job}\n  stop it: ray job stop {address} {job}"


def _check_address(address: str) -> None:
    right = "expected the URL of the cluster's dashboard, such as http://127.0.0.1:8265"
    if "@" in address:  # it would go into messages and logs
        raise UserError(f"--address: found a user name or password in the URL; {right}")
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise UserError(f"--address: found {address!r} ({error}); {right}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UserError(f"--address: found {address!r}; {right}")


def _check_dashboard(address: str, within: float) -> None:
    """Raise UserError where no Ray dashboard has answered in time; Ray's own client waits minutes."""
    found = [f"no answer within {within:g} seconds"]
    # A socket's own timeout begins anew with every byte, and looking up a name has none.
    asking = Thread(target=lambda: found.append(_problem(address, within)), daemon=True)
    asking.start()
    asking.join(within)
    if problem := found[-1]:
        raise UserError(
            f"{address}: no Ray dashboard there ({problem}); expected the URL that `ray start --head` "
            "prints, or that `ray dashboard CLUSTER.yaml` or `kubectl port-forward` brings to this machine"
        )


def _problem(address: str, within: float) -> str:
    """Ask what answers; return what is wrong with it, or an empty text."""
    try:
        with urlopen(f"{address}/api/version", timeout=within) as answer:  # noqa: S310 - http(s), checked
            return "" if b'"ray_version"' in answer.read(10_000) else "another server answers"
    except HTTPError as error:  # 401, 403: it is there, and asks for a token
        return "" if error.code in (401, 403) else f"another server answers, HTTP {error.code}"
    except URLError as error:
        return f"no answer: {error.reason}"
    except TimeoutError:
        return f"no answer within {within:g} seconds"
    except (OSError, HTTPException) as error:
        return f"what answers does not speak HTTP: {type(error).__name__}"


def _token_source() -> str | None:
    """Return where Ray finds a token, in its order; never the token."""
    if os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return "RAY_AUTH_TOKEN"
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return f"the file {path} (RAY_AUTH_TOKEN_PATH)"
    return "the file ~/.ray/auth_token" if Path("~/.ray/auth_token").expanduser().is_file() else None


def _what_to_set(address: str) -> str:
    """Say what to set after a cluster refused; names where the token came from, never the token."""
    right = "RAY_AUTH_TOKEN to the cluster's token, or RAY_AUTH_TOKEN_PATH to a file that holds it"
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode.lower() != "token":
        setting = f"found RAY_AUTH_MODE={mode}" if mode else "RAY_AUTH_MODE is not set"
        return (
            f"{address}: the cluster asks for a token and none was sent ({setting}); "
            f"set RAY_AUTH_MODE=token, and {right}"
        )
    source = _token_source()
    if source is None:
        return f"{address}: the cluster asks for a token and none was found; set {right}"
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if path and source != "RAY_AUTH_TOKEN" and not (os.access(path, os.R_OK) and os.path.getsize(path)):
        return f"RAY_AUTH_TOKEN_PATH: found {path}, a file that cannot be read or is empty; set {right}"
    return f"{address}: the cluster refuses the token from {source}; set {right}"
