"""What `kindred predict` and `kindred serve` do, from the words of their calls."""

import math
import os
import secrets
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.plain_yaml import parse_yaml
from pipelines.base.ray_session import ray_on_demand, ray_session
from pipelines.use.answers import Asked
from pipelines.use.find_model import find_model
from pipelines.use.predict import Predicted, predict
from pipelines.use.writers import ending_of


def predict_command(
    model: str,
    inputs: Sequence[str],
    out: str,
    *,
    arm: str | None,
    seed: int | None,
    ensemble: bool,
    full: bool,
    embeddings: bool,
    calibrated: bool,
    options: Sequence[str],
    run_code: bool,
    verbose: bool,
) -> Predicted:
    """Find the model, predict, and start or join a Ray where that takes one.

    Raises:
        UserError: the call is wrong; told before Ray is started where it can be.
    """
    ending_of(out)
    settings = source_options(options)
    models = find_model(model, arm, seed, ensemble=ensemble, run_code=run_code)
    with ray_on_demand(verbose):
        return predict(models, inputs, out, Asked(full, embeddings, calibrated), options=settings, run_code=run_code)


TOKEN_VARIABLE = "KINDRED_TOKEN"  # noqa: S105 - a name
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_command(
    model: str,
    *,
    host: str,
    port: int,
    replicas: int,
    gpus: float,
    arm: str | None,
    seed: int | None,
    ensemble: bool,
    no_token: bool,
    run_code: bool,
    verbose: bool,
    tell: Callable[[str], None],
) -> None:
    """Serve a model until somebody stops it.

    The token is that of KINDRED_TOKEN, or a new one; it stands in no argument, which every user of a machine can see.

    Raises:
        UserError: the call is wrong, ray[serve] is not installed, or the port is taken.
    """
    from pipelines.use.serve import ServeSettings, import_serve, serving

    if not math.isfinite(gpus):
        raise UserError(f"--gpus: found {gpus}; expected a number")
    if no_token and host not in _LOOPBACK:
        raise UserError(f"--no-token: found with --host {host}, where others can reach it; expected a token there")
    import_serve()
    models = find_model(model, arm, seed, ensemble=ensemble, run_code=run_code)
    _check_free(host, port)
    token = None if no_token else os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24)
    settings = ServeSettings(token=token, replicas=replicas, gpus=gpus, run_code=run_code)
    with ray_session(verbose), serving(models, settings, host, port) as url:
        tell(f"{url}#token={token}" if token else url)
        signal.pause()


def _check_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        raise UserError(f"--host, --port: {host}:{port} cannot be listened on: {error.strerror}") from None


def source_options(words: Sequence[str]) -> dict[str, Any]:
    """Return ``key=value`` words as settings of a source, the values in YAML.

    Raises:
        UserError: a word is not of this form.
    """
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"--source {word}: not of the form key=value; expected such as file_column=path")
        settings[key] = parse_yaml(value, f"--source {word:.200}")
    return settings
