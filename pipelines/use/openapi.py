"""The service's OpenAPI description, with the model's own tasks in it."""

from importlib.metadata import version
from typing import Any

from mtlcore.exported import Description
from pipelines.case.crop import Crop
from pipelines.use.service import Limits


def openapi(description: Description, limits: Limits, needs_token: bool) -> dict[str, Any]:
    """Return the description (OpenAPI 3.1) of /predict, /healthz and /metrics."""
    pictures = description.input["kind"] == "picture"
    answer = {
        "type": "object",
        "properties": {"predictions": {"type": "array", "items": _prediction(description)}},
        "required": ["predictions"],
    }
    refused = {"description": "Refused", "content": _json({"type": "object", "properties": {"error": _TEXT}})}
    content = _json(_body(description, limits))
    if pictures and not description.input.get("crop"):
        content |= {"image/*": {"schema": {"type": "string", "format": "binary"}}}
    security: dict[str, Any] = {"security": [{"token": []}]} if needs_token else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{description.case}: {description.arm}", "version": version("kindred-mtl")},
        "paths": {
            "/predict": {
                "post": {
                    "summary": "Predict one image, many, vectors, or rows of a table",
                    "requestBody": {"required": True, "content": content},
                    "responses": {
                        "200": {"description": "Answers in the order of the inputs", "content": _json(answer)},
                        **dict.fromkeys(("400", "401", "413", "415"), refused),
                    },
                }
                | security
            },
            "/healthz": {"get": {"summary": "Says that it is there", "responses": {"200": {"description": "It is"}}}},
            "/metrics": {
                "get": {"summary": "Counts and times, for Prometheus", "responses": {"200": {"description": "Text"}}}
                | security
            },
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


_TEXT = {"type": "string"}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _body(description: Description, limits: Limits) -> dict[str, Any]:
    def of(key: str, item: dict[str, Any]) -> Any:
        values = {"type": "array", "items": item, "minItems": 1, "maxItems": limits.most_inputs}
        return {"type": "object", "properties": {key: values}, "required": [key]}

    if description.input["kind"] == "picture":
        body = of("pictures", {"type": "string", "contentEncoding": "base64"})
        if crop := description.input.get("crop"):
            boxes = Crop.model_validate(crop).columns
            numbers = {name: {"type": "number"} for name in boxes}
            rows = of("rows", {"type": "object", "properties": numbers, "required": list(boxes)})
            body["properties"] |= rows["properties"] | {"crop": {"type": "boolean"}}
        return body  # type: ignore[no-any-return]
    size, columns = description.input["size"], description.input.get("columns") or []
    vector = {"type": "array", "items": {"type": "number"}, "minItems": size, "maxItems": size}
    forms = [of("vectors", vector)]
    if columns:
        cells = {
            one["name"]: {"enum": one["categories"]} if one["categories"] else {"type": "number"} for one in columns
        }
        forms.append(of("rows", {"type": "object", "properties": cells, "required": list(cells)}))
    return {"anyOf": forms}


def _prediction(description: Description) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    for name, task in description.served.items():
        outputs = {"type": "object", "properties": dict.fromkeys(task.outputs, _PROBABILITY)}
        if task.kind == "regression":
            numbers = {"type": "object", "properties": {key: {"type": "number"} for key in task.outputs}}
            tasks[name] = {"type": "object", "properties": {"numbers": numbers}}
            continue
        if task.kind != "multilabel":
            said: dict[str, Any] = {"label": {"enum": list(task.outputs)}, "probability": _PROBABILITY}
        else:
            said = {"labels": {"type": "array", "items": {"enum": list(task.outputs)}}}
        tasks[name] = {"type": "object", "properties": said | {"probabilities": outputs}}
    return {"type": "object", "properties": tasks}
