"""Save a relatedness to a safetensors file and load it again, bit for bit."""

import json
from os import PathLike
from typing import Any

import torch

from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass, Multilabel, Task

_FORMAT = "mtlcore.relatedness.1"
_KINDS: dict[str, type[Multiclass] | type[Multilabel]] = {"multiclass": Multiclass, "multilabel": Multilabel}


def save_relatedness(relatedness: Relatedness, file: str | PathLike[str]) -> None:
    """Save R, base, support and interval as safetensors, the tasks and the provenance in its header.

    Args:
        relatedness: what to save.
        file: path; replaced if it is there. Needs the package safetensors.

    Example:
        >>> import tempfile
        >>> from mtlcore import expression_to_au, load_relatedness, save_relatedness
        >>> with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        ...     save_relatedness(expression_to_au(), file.name)
        ...     load_relatedness(file.name).source.outputs[0]
        'happiness'
    """
    parts = {"table": relatedness.table, "base": relatedness.base, "support": relatedness.support}
    parts["interval"] = relatedness.interval
    header = {
        "format": _FORMAT,
        "source": _described(relatedness.source),
        "target": _described(relatedness.target),
        "provenance": relatedness.provenance,
    }
    tensors = {name: part.detach().cpu().contiguous() for name, part in parts.items() if part is not None}
    from safetensors.torch import save_file  # only who keeps a table needs safetensors

    save_file(tensors, file, metadata={"relatedness": json.dumps(header)})


def load_relatedness(file: str | PathLike[str]) -> Relatedness:
    """Load what :func:`save_relatedness` saved; nothing in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, holds no relatedness, or what it holds breaks a rule of it.

    Example:
        >>> import tempfile
        >>> from mtlcore import expression_to_au, load_relatedness, save_relatedness
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_relatedness(expression_to_au(), f"{folder}/faces.safetensors")
        ...     load_relatedness(f"{folder}/faces.safetensors").source.name
        'expression'
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    except SafetensorError as error:
        raise ValueError(f"{file}: not a safetensors file: {error}") from None
    try:
        header = json.loads(metadata["relatedness"])
        if header["format"] != _FORMAT:
            raise ValueError(f"{file}: found the format {header['format']!r}; expected {_FORMAT!r}")
        source, target = _task(header["source"]), _task(header["target"])
        table, provenance = tensors["table"], str(header["provenance"])
    except (KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(f"{file}: holds no relatedness; expected a file of mtlcore.save_relatedness") from None
    parts: dict[str, torch.Tensor | None] = {name: tensors.get(name) for name in ("base", "support", "interval")}
    return Relatedness(source, target, table, **parts, provenance=provenance)  # type: ignore[arg-type]


def _described(task: Task) -> dict[str, Any]:
    kind = "multiclass" if isinstance(task, Multiclass) else "multilabel"
    return {"name": task.name, "kind": kind, "outputs": list(task.outputs)}


def _task(described: dict[str, Any]) -> Task:
    return _KINDS[described["kind"]](described["name"], tuple(described["outputs"]))
