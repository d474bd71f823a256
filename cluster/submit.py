"""The command `kindred submit`: runs a case on a Ray cluster through its job API."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.connection import AddressOption, NoAnswerError, connect, token, within
from cluster.follow import commands, follow
from cluster.package import CASE_FILE, Sent, check_own_code, described, gather
from pipelines.base.errors import UserError
from pipelines.base.logs import is_json
from pipelines.base.ray_session import JOB
from pipelines.cli import EXIT_FAILED, CaseArgument, FreshOption, JsonOption, SetOption, VerboseOption

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from pipelines.case.case import Case

# Ray starts it in a shell on the head, in the folder that is sent along; the cluster's Python has Kindred.
ENTRYPOINT = f"python -m pipelines run {CASE_FILE}"
# A job that is stopped is killed after so many seconds, Ray's own default is 3: its checkpoint has to be written first.
_STOPS_WITHIN_S = 90
_LONGEST_UPLOAD_S = 180.0

NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Send the run and leave; do not show its log.")]
WithOption = Annotated[
    list[str],
    typer.Option("--with", metavar="FILE|FOLDER", help="Code of your own that the case names, sent along; repeatable."),
]


def submit(
    case: CaseArgument,
    address: AddressOption,
    overrides: SetOption = [],  # noqa: B006 - read only
    with_code: WithOption = [],  # noqa: B006 - read only
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
    code = gather(with_code, token() or None)
    check_own_code(loaded, code, [Path.cwd(), Path(case).absolute().parent])
    client = connect(address.rstrip("/"), verbose)
    options = ("--fresh" if fresh else "", "--verbose" if verbose else "")
    entrypoint = " ".join([ENTRYPOINT, *(option for option in options if option)])
    if is_json():
        entrypoint = entrypoint.replace(" run ", " --log-format json run ")
    typer.echo(f"{described(code)}\nnot sent: {_stays(loaded)}", err=True)
    try:
        job = send(client, loaded, entrypoint, code)
    except NoAnswerError as error:
        typer.echo(f"{address}: {error}; `kindred jobs --address {address}` says whether it has the job", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    outcome: dict[str, Any]
    if no_wait:
        outcome = {"job": job, "status": "SUBMITTED", "exit_code": None}
        typer.echo(f"job {job} is submitted\n{commands(client, job)}", err=as_json)
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


def send(client: "JobSubmissionClient", case: "Case", entrypoint: str = ENTRYPOINT, code: Sequence[Sent] = ()) -> str:
    """Submit a job that finds the case as case.yaml in its folder, and code beside it; return the job's id.

    Raises:
        NoAnswerError: the cluster does not answer; it may have the job.
    """
    from pipelines.case.load import as_yaml

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CASE_FILE).write_text(as_yaml(case), encoding="utf-8")
        for sent in code:
            file = Path(folder) / sent.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(sent.content)
        environment = {
            "working_dir": folder,
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOPS_WITHIN_S), JOB: "1"},
        }
        job: str = within(
            lambda: client.submit_job(entrypoint=entrypoint, runtime_env=environment, metadata={"case": case.name}),
            _LONGEST_UPLOAD_S,
        )
    return job


def _stays(case: "Case") -> str:
    """Say which paths of the case are read and written where the run is."""
    places = [f"storage.path {case.storage.path}"]
    if not case.embedded and case.data_root:
        places.insert(0, f"data_root {case.data_root}")
    return f"{' and '.join(places)}, which every node of the cluster has to see; data of this machine stays here"
