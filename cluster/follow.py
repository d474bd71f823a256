"""A job's log as it is written, and how the job ended."""

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TextIO

import typer

from pipelines.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient


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
        typer.echo(f"\njob {job} continues\n{commands(client, job)}", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Exception as error:  # aiohttp, requests and Ray each raise their own
        _say_lost(client, job, str(error) or type(error).__name__)
        raise typer.Exit(EXIT_FAILED) from None
    if not details.status.is_terminal():
        _say_lost(client, job, "the log ended before the job")
        raise typer.Exit(EXIT_FAILED)
    code = exit_code(details)
    message = f"job {job} {details.status.lower()}" + (f", exit code {code}" if code else "")
    if details.status == "FAILED" and details.driver_exit_code is None and details.message:
        message += f": {details.message}"  # the run did not start, or lost its node: the log does not say why
    typer.echo(message, err=bool(code) or log is sys.stderr)
    return {"job": job, "status": str(details.status.value), "exit_code": code}


def exit_code(details: Any) -> int:
    """Return the driver's exit code as a shell has it; 1 for a job that has none, 143 for one that was stopped."""
    if details.status == "SUCCEEDED":
        return 0
    code = details.driver_exit_code or (EXIT_TERMINATED if details.status == "STOPPED" else EXIT_FAILED)
    return 128 - code if code < 0 else int(code)  # negative: the signal that ended it


def commands(client: "JobSubmissionClient", job: str) -> str:
    """Return how to watch and stop a job."""
    address = f"--address {client.get_address()}"
    return f"  its log: kindred logs {address} --follow {job}\n  stop it: kindred stop {address} {job}"


async def _copy_log(client: "JobSubmissionClient", job: str, log: TextIO) -> None:
    async for lines in client.tail_job_logs(job):
        log.write(lines)
        log.flush()


def _say_lost(client: "JobSubmissionClient", job: str, why: str) -> None:
    typer.echo(f"lost sight of job {job} ({why}); it may still be running\n{commands(client, job)}", err=True)
