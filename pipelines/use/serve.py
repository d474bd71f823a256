"""Serve a trained model over HTTP with Ray Serve: `kindred serve`.

::

    Gateway    checks token and size, decodes, asks a replica, asks another one where it died; the page on /
    Replica    holds the model; requests that arrive together are one batch

A request is accepted when its body has been read; from then on the death of a replica delays it and loses nothing. The
Gateway itself needs no processor and computes nothing but the decoding.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.base.errors import UserError
from pipelines.use.find_model import Files, find_model
from pipelines.use.service import Limits

PAGE = "page.html"
_ATTEMPTS = 20
_PAUSE_S = 0.5  # before another replica is asked, where none is there yet
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class ServeSettings:
    """How a model is served.

    Attributes:
        token: what a request has to show; None for none.
        replicas: how many hold the model.
        gpus: of each replica; with one it computes there.
        max_batch: inputs that are computed together.
        wait_ms: how long a request waits for others.
        limits: what one request may hold.
        run_code: whether a backbone of somebody's own may be run.
    """

    token: str | None = None
    replicas: int = 1
    gpus: float = 0
    max_batch: int = 32
    wait_ms: float = 4.0
    limits: Limits = field(default_factory=Limits)
    run_code: bool = False


class Replica:
    """Holds the models and computes batches."""

    def __init__(self, models: Sequence[Files], settings: ServeSettings) -> None:
        import torch

        from pipelines.use.model import Model

        if not settings.gpus:
            torch.set_num_threads(1)
        self._device = "cuda" if settings.gpus else "cpu"
        self._model = Model(models, run_code=settings.run_code)
        for member in self._model.members:
            member.to(self._device)
        self.compute([np.zeros((1, *self._model.input.shape), self._dtype())])  # the first is slow: not a user's

    def _dtype(self) -> Any:
        from pipelines.case.data import PictureInput

        return np.uint8 if isinstance(self._model.input, PictureInput) else np.float32

    def compute(self, requests: Sequence[np.ndarray]) -> list[list[dict[str, Any]]]:
        """Return the answers of some requests, computed as one batch."""
        import torch

        from pipelines.use.answers import thresholds_of
        from pipelines.use.service import answers_of

        inputs = torch.from_numpy(np.concatenate(requests)).to(self._device)
        members = self._model.members
        with torch.inference_mode():
            parts = [member.answers(member(inputs)) for member in members]
        tasks = self._model.tasks
        mean = {name: (sum(part[name] for part in parts) / len(parts)).cpu() for name in tasks}  # type: ignore[union-attr]
        answers = answers_of(tasks, mean, {name: thresholds_of(members, name) for name in tasks})
        ends = np.cumsum([len(one) for one in requests])
        return [answers[end - len(one) : end] for one, end in zip(requests, ends.tolist(), strict=True)]


def build_app(models: Sequence[Files], settings: ServeSettings) -> Any:
    """Return the application for ``ray.serve.run``.

    Args:
        models: as :func:`pipelines.use.find_model.find_model` returns them; several are an ensemble.
        settings: how it is served.

    Raises:
        UserError: ray[serve] is not installed.
    """
    serve = import_serve()

    class Batched(Replica):
        @serve.batch(  # type: ignore[untyped-decorator]
            max_batch_size=settings.max_batch, batch_wait_timeout_s=settings.wait_ms / 1000, batch_size_fn=_inputs_in
        )
        async def predict(self, requests: list[np.ndarray]) -> list[list[dict[str, Any]]]:
            return self.compute(requests)

    class Gate(Gateway):
        async def __call__(self, request: Any) -> Any:
            return await self.answer(request)

    replica = serve.deployment(
        Batched,
        name="Replica",
        num_replicas=settings.replicas,
        max_ongoing_requests=4 * settings.max_batch,
        ray_actor_options={"num_cpus": 0 if settings.gpus else 1, "num_gpus": settings.gpus},
        health_check_period_s=2,
    )
    gateway = serve.deployment(
        Gate, name="Gateway", num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0}
    )
    plain = [dict(files) for files in models]
    return gateway.bind(replica.bind(plain, settings), plain[0], settings)


@contextmanager
def serving(models: Sequence[Files], settings: ServeSettings, host: str, port: int) -> Iterator[str]:
    """Serve for as long as the block runs, on a Ray that is there; give the address.

    Args:
        models: several are an ensemble.
        settings: how they are served.
        host: the address to listen on; 127.0.0.1 is this machine alone.
        port: the port.
    """
    serve = import_serve()
    serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "WARNING"})
    try:
        serve.run(build_app(models, settings), name="kindred", route_prefix="/")
        yield f"http://{host}:{port}/"
    finally:
        serve.shutdown()


def _inputs_in(requests: list[np.ndarray]) -> int:
    return sum(len(one) for one in requests)


def application(settings: Mapping[str, Any]) -> Any:
    """Return the application from plain settings: the builder that a RayService names.

    Args:
        settings: ``model`` (a path or URL), and what :class:`ServeSettings` holds; ``token_file`` is a file with the
            token, such as a mounted secret; without a token it has to say ``no_token: true``.

    Raises:
        UserError: a key is unknown or missing.
    """
    given = dict(settings)
    model, token_file, no_token = (given.pop(key, None) for key in ("model", "token_file", "no_token"))
    choice = {key: given.pop(key) for key in ("arm", "seed", "ensemble") if key in given}
    known = {"replicas", "gpus", "max_batch", "wait_ms", "run_code"}
    if model is None or (unknown := sorted(set(given) - known)):
        what = "no 'model'" if model is None else f"{unknown[0]!r}"
        raise UserError(f"args: found {what}; expected model, token_file or no_token, {', '.join(sorted(known))}")
    if (token_file is None) == (not no_token):
        raise UserError("args: expected either token_file or no_token: true")
    token = Path(token_file).read_text().strip() if token_file else None
    models = find_model(str(model), **choice, run_code=given.get("run_code") is True)
    return build_app(models, ServeSettings(token=token, **given))


def import_serve() -> Any:
    """Return ray.serve.

    Raises:
        UserError: it is not installed.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise UserError(f"kindred serve: {error}; pip install 'kindred-mtl[serve]' brings what it needs") from None
    return serve


class Gateway:
    """Takes requests: GET /, /healthz, /metrics, /openapi.json, and POST /predict."""

    def __init__(self, replica: Any, files: Files, settings: ServeSettings) -> None:
        import prometheus_client as prometheus

        from mtlcore.exported import Description
        from mtlcore.exported.folder import DESCRIPTION
        from pipelines.use.predict import input_of

        self._replica, self._settings = replica, settings
        self._description = Description.from_json(files[DESCRIPTION])
        self._input = input_of(self._description)
        self._registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter("kindred_requests", "Requests", ["status"], registry=self._registry)
        self._inputs = prometheus.Counter("kindred_inputs", "Inputs predicted", registry=self._registry)
        self._again = prometheus.Counter("kindred_replica_deaths", "Requests asked again", registry=self._registry)
        self._seconds = prometheus.Histogram(
            "kindred_request_seconds", "Time of a prediction", buckets=_BUCKETS, registry=self._registry
        )

    async def answer(self, request: Any) -> Any:
        """Answer a request, refused ones with the reason."""
        from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse

        from pipelines.use.openapi import openapi
        from pipelines.use.service import RefusedError, check_token

        method, path = request.method, request.url.path
        try:
            if (method, path) == ("GET", "/healthz"):
                return JSONResponse({"status": "ok"})
            if (method, path) == ("GET", "/"):
                return HTMLResponse((Path(__file__).parent / PAGE).read_text(encoding="utf-8"), headers=_PAGE_HEADERS)
            if (method, path) == ("GET", "/openapi.json"):
                return JSONResponse(openapi(self._description, self._settings.limits, self._settings.token is not None))
            if (method, path) == ("GET", "/metrics"):
                import prometheus_client as prometheus

                check_token(self._settings.token, request.headers.get("authorization"))
                return PlainTextResponse(prometheus.generate_latest(self._registry).decode())
            if path != "/predict":
                raise RefusedError(404, "there is nothing here; /predict takes POST, /openapi.json describes it")
            if method != "POST":
                raise RefusedError(405, "/predict takes POST")
            check_token(self._settings.token, request.headers.get("authorization"))
            start = time.monotonic()
            answers = await self._predict(request)
        except RefusedError as error:
            self._requests.labels(str(error.status)).inc()
            return JSONResponse({"error": error.why}, status_code=error.status)
        self._requests.labels("200").inc()
        self._inputs.inc(len(answers))
        self._seconds.observe(time.monotonic() - start)
        return JSONResponse({"predictions": answers})

    async def _predict(self, request: Any) -> list[dict[str, Any]]:
        from pipelines.use.service import RefusedError, inputs_of_request

        limits = self._settings.limits
        stated = request.headers.get("content-length", "")
        if stated.isdigit() and int(stated) > limits.most_bytes:
            raise RefusedError(413, f"found {int(stated):,} bytes; expected at most {limits.most_bytes:,}")
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > limits.most_bytes:
                raise RefusedError(413, f"found more than {limits.most_bytes:,} bytes; expected at most so many")
        kind = request.headers.get("content-type", "")
        inputs = await asyncio.to_thread(inputs_of_request, body, kind, self._input, limits)
        return await self._ask(inputs)

    async def _ask(self, inputs: np.ndarray) -> list[dict[str, Any]]:
        """Ask a replica; where it dies before it answers, another one."""
        from ray.exceptions import RayActorError

        for attempt in range(_ATTEMPTS):
            try:
                found: list[dict[str, Any]] = await self._replica.predict.remote(inputs)
                return found
            except RayActorError:
                self._again.inc()
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")


_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src blob: data:; connect-src 'self'",
    "x-content-type-options": "nosniff",
}
