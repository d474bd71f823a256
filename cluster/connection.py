"""A connection to a cluster's job API: address and token are looked at first: Ray's client waits for minutes."""

import json
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import typer

from pipelines.base.errors import UserError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

# Ray lets these win over the address that its client is given.
ADDRESS_VARIABLES = ["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"]
_LONGEST_ANSWER_S = 60.0

AddressOption = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="URL",
        envvar=ADDRESS_VARIABLES,
        help="The cluster's dashboard, such as http://127.0.0.1:8265.",
    ),
]

T = TypeVar("T")


class NoAnswerError(Exception):
    """The cluster has not answered in time."""


def within(ask: Callable[[], T], seconds: float = _LONGEST_ANSWER_S) -> T:
    """Return what a function returns; Ray's client itself waits for an answer without an end.

    Raises:
        NoAnswerError: it takes longer.
        Exception: what it raises.
    """
    answers: list[T] = []
    problems: list[BaseException] = []

    def call() -> None:
        try:
            answers.append(ask())
        except BaseException as problem:
            problems.append(problem)

    asking = Thread(target=call, daemon=True)
    asking.start()
    asking.join(seconds)
    if problems:
        raise problems[0]
    if not answers:
        raise NoAnswerError(f"the cluster has not answered within {seconds:g} seconds")
    return answers[0]


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
    for name in ADDRESS_VARIABLES:
        os.environ.pop(name, None)
    import logging

    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    if not verbose:
        logging.disable(logging.INFO)  # the client's loggers set their own levels
    try:
        return within(lambda: JobSubmissionClient(address))
    except AuthenticationError:
        raise UserError(_what_to_set(address)) from None
    except ValueError:  # a header that cannot be sent; the error's own text holds the token
        raise UserError(
            f"{address}: the token from {_token_source()} has a character that cannot be sent, such as a "
            "line break in its middle; expected the token that the cluster was started with"
        ) from None
    except OSError as error:
        raise UserError(f"{address}: {error}") from None


def ask(address: str, path: str) -> dict[str, Any]:
    """Return what the dashboard answers; :func:`connect` has looked at the address and the token.

    Raises:
        UserError: it does not answer in time, or not in JSON.
    """
    request = Request(f"{address}{path}")  # noqa: S310 - http(s), checked
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" and (known := token()):
        request.add_header("Authorization", f"Bearer {known}")
    try:
        with urlopen(request, timeout=_LONGEST_ANSWER_S) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"{address}: no answer that can be read ({error}); expected Ray's dashboard") from None


def token() -> str:
    """Return the token, from where Ray looks for it, in its order."""
    if known := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return known
    file = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path("~/.ray/auth_token").expanduser())
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


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
