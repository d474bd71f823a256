"""The commands `kindred jobs`, `kindred logs` and `kindred stop`: the runs of a Ray cluster."""

import json
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cluster.connection import AddressOption, NoAnswerError, connect, within
from cluster.follow import commands, exit_code, follow
from pipelines.base.errors import UserError
from pipelines.base.progress import read_line
from pipelines.base.terminal import as_text
from pipelines.cli import EXIT_FAILED, JsonOption

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_LONGEST_STOP_S = 150.0

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, as `kindred jobs` lists it.")]


@dataclass(frozen=True)
class Job:
    """A job of a cluster.

    Attributes:
        job: its id.
        case: the case's name; empty for a job that `kindred submit` has not sent.
        state: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED.
        started: when, as this machine's clock has it.
        work: what it does now, ``train`` for one; empty where it does not say so.
        done: units that are done of it.
        total: units there are.
        unit: what is counted.
        left: how long it may still take.
    """

    job: str
    case: str
    state: str
    started: str
    work: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    left: str = ""


def jobs(address: AddressOption, as_json: JsonOption = False) -> None:
    """List the jobs of a cluster: case, state, how far they are, and the time left."""
    client = connect(address.rstrip("/"))
    found = list_jobs(client)
    if as_json:
        typer.echo(json.dumps([asdict(job) for job in found]))
        return
    if not found:
        typer.echo("no jobs")
        return
    table = Table()
    for name in ("job", "case", "state", "started", "at", "left"):
        table.add_column(name, no_wrap=name == "job")
    for job in found:
        at = f"{job.work} {job.done:,} of {job.total:,} {job.unit}" if job.total is not None else ""
        table.add_row(job.job, job.case, job.state, job.started, at, job.left)
    typer.echo(as_text(table, width=140))


def logs(
    job: JobArgument,
    address: AddressOption,
    follows: Annotated[bool, typer.Option("--follow", "-f", help="Show what comes, to the job's end.")] = False,
) -> None:
    """Show a job's log; with --follow to its end, with its exit code."""
    client = connect(address.rstrip("/"))
    _details(client, job)
    if follows:
        raise typer.Exit(follow(client, job)["exit_code"])
    typer.echo(within(lambda: client.get_job_logs(job)), nl=False)


def stop(job: JobArgument, address: AddressOption, as_json: JsonOption = False) -> None:
    """Stop a job: what trains writes a checkpoint first, and the same `kindred submit` goes on from there."""
    client = connect(address.rstrip("/"))
    details = _details(client, job)
    if not details.status.is_terminal():
        within(lambda: client.stop_job(job))
        deadline = time.monotonic() + _LONGEST_STOP_S
        while not (details := within(lambda: client.get_job_info(job))).status.is_terminal():
            if time.monotonic() > deadline:
                typer.echo(
                    f"job {job} has not stopped within {_LONGEST_STOP_S:g} seconds\n{commands(client, job)}", err=True
                )
                raise typer.Exit(EXIT_FAILED)
            time.sleep(0.3)
    if as_json:
        typer.echo(json.dumps({"job": job, "status": str(details.status.value), "exit_code": exit_code(details)}))
    elif details.status == "STOPPED":
        typer.echo(
            f"job {job} is stopped; what it ingested and trained is kept, and the same submit goes on from there"
        )
    else:
        typer.echo(f"job {job} had ended before: {details.status.lower()}")


def list_jobs(client: "JobSubmissionClient") -> list[Job]:
    """Return the jobs of a cluster, the newest first, those that run with how far they are."""
    return [_job(client, details) for details in _list(client)]


def _list(client: "JobSubmissionClient") -> list[Any]:
    """Return the jobs that were submitted, the newest first; not what runs on the cluster without being a job."""
    try:
        listed = within(client.list_jobs)
    except NoAnswerError as error:
        typer.echo(f"{client.get_address()}: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    return sorted((one for one in listed if one.submission_id), key=lambda one: -(one.start_time or 0))


def _details(client: "JobSubmissionClient", job: str) -> Any:
    listed = {one.submission_id: one for one in _list(client)}
    if job not in listed:
        raise UserError(f"JOB: found {job!r}, no such job; `kindred jobs` lists them")
    return listed[job]


def _job(client: "JobSubmissionClient", details: Any) -> Job:
    started = datetime.fromtimestamp(details.start_time / 1000).isoformat(" ", "seconds") if details.start_time else ""
    job = Job(details.submission_id, (details.metadata or {}).get("case", ""), str(details.status.value), started)
    if details.status != "RUNNING":
        return job
    try:
        log = within(lambda: client.get_job_logs(details.submission_id))
    except Exception:  # it has no log yet, or its node does not answer: the list tells the rest
        return job
    return with_progress(job, log)


def with_progress(job: Job, log: str) -> Job:
    """Return the job with what the last line of progress in its log says."""
    for line in reversed(log.splitlines()):
        if said := read_line(_message(line)):
            done, total = (int(said[name].replace(",", "")) for name in ("done", "total"))
            return Job(job.job, job.case, job.state, job.started, said["work"], done, total, said["unit"], said["left"])
    return job


def _message(line: str) -> str:
    """Return the message of a line, be it one of JSON Lines."""
    if line.startswith("{"):
        try:
            return str(json.loads(line)["message"])
        except (ValueError, KeyError, TypeError):
            return line
    return line
