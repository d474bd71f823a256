"""The web service's own part, without Ray: what a request holds, what is answered, what is refused and why."""

import base64
import binascii
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from mtlcore import Multilabel, Regression, Task, decided_class
from pipelines.case.data import PictureInput, VectorInput
from pipelines.ingest.boxes import boxes_of
from pipelines.ingest.decode import decode_input
from pipelines.ingest.framing import Box
from pipelines.ingest.make_block import reason_of
from pipelines.sources.table_columns import encode

PICTURE_TYPES = ("image/", "application/octet-stream")


class RefusedError(Exception):
    """A request that is not answered; its message says why.

    Args:
        status: of HTTP: 400, 401, 413 or 415.
        why: for a person.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why

    def __reduce__(self) -> tuple[Any, ...]:
        return RefusedError, (self.status, self.why)


@dataclass(frozen=True)
class Limits:
    """How much one request may hold.

    Attributes:
        most_bytes: of its body.
        most_inputs: pictures, vectors or rows.
    """

    most_bytes: int = 16 << 20
    most_inputs: int = 256


def check_token(expected: str | None, header: str | None) -> None:
    """Refuse a request without the token, in a time that tells nothing of it.

    Raises:
        RefusedError: 401.
    """
    given = (header or "").removeprefix("Bearer ").encode()
    if expected is not None and not hmac.compare_digest(given, expected.encode()):
        raise RefusedError(401, "no or a wrong token; expected the header 'Authorization: Bearer TOKEN'")


def inputs_of_request(
    body: bytes, content_type: str, declared: PictureInput | VectorInput, limits: Limits
) -> np.ndarray:
    """Return what a request's body holds as the model takes it, (n, ...).

    Args:
        body: one encoded image; or JSON: ``{"pictures": [BASE64, ...]}``, ``{"vectors": [[...], ...]}`` or ``{"rows":
            [{COLUMN: VALUE}, ...]}``. Of a model that takes a part of each picture, ``pictures`` and ``rows`` with the
            columns of their boxes, or ``"crop": false`` where they are cropped already.
        content_type: of the body.
        declared: what the model takes.
        limits: what a request may hold.

    Raises:
        RefusedError: 400 for what cannot be read, 413 for too much, 415 for another type; says which input and why.
    """
    if len(body) > limits.most_bytes:
        raise RefusedError(413, f"found {len(body):,} bytes; expected at most {limits.most_bytes:,}")
    if not body:
        raise RefusedError(400, "found an empty body; expected an image, or JSON")
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith(PICTURE_TYPES) and isinstance(declared, PictureInput):
        return _decoded([body], declared, _boxes({}, 1, declared))
    if kind != "application/json":
        right = "an image (image/png, ...) or application/json" if isinstance(declared, PictureInput) else "JSON"
        raise RefusedError(415, f"found the content type {content_type!r}; expected {right}")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"no JSON: {error}") from None
    keys = ("pictures",) if isinstance(declared, PictureInput) else ("vectors", "rows")
    key = next((key for key in keys if isinstance(content, dict) and isinstance(content.get(key), list)), None)
    if key is None:
        raise RefusedError(400, f"expected a JSON object with a list {' or '.join(map(repr, keys))}")
    values = content[key]
    if not 1 <= len(values) <= limits.most_inputs:
        status = 400 if not values else 413
        raise RefusedError(status, f"{key}: found {len(values):,}; expected from 1 to {limits.most_inputs:,}")
    if isinstance(declared, PictureInput):
        boxes = _boxes(content, len(values), declared)
        return _decoded([_from_base64(value, i) for i, value in enumerate(values)], declared, boxes)
    return (
        _of_rows(values, declared)
        if key == "rows"
        else _decoded([_vector(v, i) for i, v in enumerate(values)], declared)
    )


def _from_base64(value: Any, i: int) -> bytes:
    if not isinstance(value, str):
        raise RefusedError(400, f"pictures[{i}]: found {type(value).__name__}; expected base64 of an encoded image")
    try:
        return base64.b64decode(value.rpartition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(400, f"pictures[{i}]: no base64") from None


def _vector(value: Any, i: int) -> np.ndarray:
    try:
        vector = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise RefusedError(400, f"vectors[{i}]: expected a list of numbers") from None
    if vector.ndim != 1:
        raise RefusedError(400, f"vectors[{i}]: expected a list of numbers")
    return vector


def _boxes(content: Mapping[str, Any], n: int, declared: PictureInput) -> Sequence[Box | None]:
    """Return the box of every picture; None where the whole of it is taken."""
    crop = declared.crop
    if crop is None or content.get("crop") is False:
        return [None] * n
    rows = content.get("rows")
    columns = ", ".join(crop.columns)
    if not isinstance(rows, list) or len(rows) != n or not all(isinstance(row, dict) for row in rows):
        raise RefusedError(
            400,
            f"the model takes a part of each picture; expected JSON with 'pictures' and as many 'rows', objects with "
            f"the keys {columns}; or 'crop': false where they are cropped already",
        )
    for i, row in enumerate(rows):
        if lacking := [name for name in crop.columns if name not in row]:
            raise RefusedError(400, f"rows[{i}]: there is no {lacking[0]!r}; expected {columns}")
        if several := [name for name in crop.columns if isinstance(row[name], list | dict)]:
            raise RefusedError(400, f"rows[{i}]: {several[0]!r}: found several values; expected a number")
    table = pa.table({name: _column([row[name] for row in rows]) for name in crop.columns})
    boxes, reasons = boxes_of(table, crop, "rows")
    for i, reason in enumerate(reasons):
        if reason is not None:
            raise RefusedError(400, f"rows[{i}]: {reason}")
    return [(a, b, c, d) for a, b, c, d in boxes.tolist()]


def _decoded(
    values: Sequence[bytes | np.ndarray], declared: PictureInput | VectorInput, boxes: Sequence[Box | None] = ()
) -> np.ndarray:
    key = "pictures" if isinstance(declared, PictureInput) else "vectors"
    made = []
    for i, value in enumerate(values):
        try:
            made.append(decode_input(value, declared, boxes[i] if boxes else None)[0])
        except Exception as error:  # whatever a broken image raises
            raise RefusedError(400, f"{key}[{i}]: {reason_of(error)}") from None
    return np.stack(made)


def _of_rows(rows: Sequence[Any], declared: VectorInput) -> np.ndarray:
    columns = declared.table_columns
    if not columns:
        raise RefusedError(400, "rows: the model was trained on arrays and knows no columns; expected 'vectors'")
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RefusedError(400, f"rows[{i}]: expected an object with the columns as keys")
        if lacking := [one.name for one in columns if one.name not in row]:
            raise RefusedError(
                400, f"rows[{i}]: there is no {lacking[0]!r}; expected {', '.join(c.name for c in columns)}"
            )
    table = pa.table({one.name: _column([row[one.name] for row in rows]) for one in columns})
    vectors, reasons = encode(table, columns)
    for i, reason in enumerate(reasons):
        if reason is not None:
            raise RefusedError(400, f"rows[{i}]: {reason}")
    return np.asarray(vectors.values.to_numpy(zero_copy_only=False), np.float32).reshape(len(rows), declared.size)


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def answers_of(
    tasks: Mapping[str, Task], probabilities: Mapping[str, Tensor], thresholds: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """Return an answer an input: by task the label (or the labels that hold), and the probability of every output."""
    n = len(next(iter(probabilities.values())))
    answers: list[dict[str, Any]] = [{} for _ in range(n)]
    for name, task in tasks.items():
        is_class = not isinstance(task, Multilabel | Regression)
        decided = decided_class(probabilities[name], task).tolist() if is_class else [0] * n
        for of_input, row, best in zip(answers, probabilities[name].tolist(), decided, strict=True):
            by_name = {output: round(p, 6) for output, p in zip(task.outputs, row, strict=True)}
            if isinstance(task, Regression):
                of_input[name] = {"numbers": by_name}
                continue
            if not isinstance(task, Multilabel):
                of_input[name] = {"label": task.outputs[best], "probability": by_name[task.outputs[best]]}
            else:
                limits = thresholds[name].tolist()
                of_input[name] = {
                    "labels": [o for o, p, least in zip(task.outputs, row, limits, strict=True) if p >= least]
                }
            of_input[name]["probabilities"] = by_name
    return answers
