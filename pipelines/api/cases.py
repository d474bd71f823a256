"""Load a case from a file, or build it from objects: plain values, and data in memory as sources."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.api.memory import INPUT, first_of, is_in_memory, keep_in_memory_data
from pipelines.case.case import Case
from pipelines.case.load import case_of
from pipelines.case.load import load_case as _load_file

_STORAGE = "kindred-runs"


def load_case(case: str | Path | Mapping[str, Any] | Case, overrides: Mapping[str, Any] | Sequence[str] = ()) -> Case:
    """Return a validated case.

    Args:
        case: the path of a case file, the name of a shipped case, or the content of a case file as a mapping. In a
            mapping a dataset's ``source`` may be data in memory: a pandas.DataFrame, a pyarrow.Table, a
            ray.data.Dataset, a Hugging Face Dataset, a torch Dataset, or NumPy arrays by name; or ``{"data": ...,
            "columns": [...]}`` with the names of a tuple's labels and with keys of the source ``parquet``
            (``id_column``, ``image_column``). Its ``labels`` may be left out where the columns are called as the tasks
            or their labels.
        overrides: values by dotted key (``{"training.steps": 100}``), or the words of ``--set``.

    Raises:
        UserError: something is wrong; a line a mistake, each with what was found and what would be right.
    """
    if isinstance(case, Case):
        case = case.model_dump(mode="json", by_alias=True, exclude_none=True)
    if not isinstance(case, Mapping):
        return _load_file(str(case), _words(overrides))
    content = _copied(case)
    datasets, tasks = content.get("datasets"), content.get("tasks")
    if isinstance(datasets, dict) and isinstance(tasks, dict):
        storage = str((content.get("storage") or {}).get("path", _STORAGE))
        storage = storage if "://" in storage else str(Path(storage).absolute())
        for name, data_set in datasets.items():
            if isinstance(data_set, dict) and is_in_memory(data_set.get("source")):
                _keep(name, data_set, tasks, content.get("input") or {}, storage)
    return case_of(content, _words(overrides))


def _copied(value: Any) -> Any:
    """Copy mappings and lists, and leave data as they are."""
    if isinstance(value, Mapping):
        return {key: one if key in ("source", "data") else _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list | tuple) else value


def _keep(
    name: str, data_set: dict[str, Any], tasks: Mapping[str, Any], declared: Mapping[str, Any], storage: str
) -> None:
    given = data_set["source"]
    settings: dict[str, Any] = {}
    if isinstance(given, Mapping) and "data" in given:
        settings = {key: copy.deepcopy(value) for key, value in given.items() if key != "data"}
        given = given["data"]
    names = settings.pop("columns", None) or list(data_set.get("labels") or tasks)
    file, columns = keep_in_memory_data(given, names, name, storage)
    source = {"kind": "parquet", "path": file} | settings
    if declared.get("kind") == "vector":
        if not declared.get("columns") and "vector_columns" not in source:
            source["vector_columns"] = first_of(columns, INPUT, "x", "features") or []
    elif "image_column" not in source:
        source["image_column"] = first_of(columns, "image", INPUT, "img", "x", "pixels", "file") or "image"
    data_set["source"] = source
    if not data_set.get("labels"):
        data_set["labels"] = {task: rule for task, of in tasks.items() if (rule := _rule(task, of, columns))}


def _rule(task: str, settings: Any, columns: Sequence[str]) -> dict[str, Any] | None:
    if task in columns:
        return {"from": "column", "column": task}
    labels = settings.get("labels", settings.get("classes", ())) if isinstance(settings, Mapping) else ()
    return {"from": "columns"} if labels and {str(label) for label in labels} <= set(columns) else None


def _words(overrides: Mapping[str, Any] | Sequence[str]) -> list[str]:
    if isinstance(overrides, Mapping):
        import json

        return [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return list(overrides)
