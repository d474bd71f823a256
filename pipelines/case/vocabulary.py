"""Classes and labels that a case file does not list itself: from a file, or as they stand in the data.

=========================  ===================================================================================
``classes: {file: x.txt}`` a name a line, a number and a name a line, or a list or mapping in JSON or YAML
``classes: {from: data}``  every word that the datasets' label rules find, in order, numbers by their size
=========================  ===================================================================================
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipelines.base.errors import UserError
from pipelines.base.plain_json import read_small
from pipelines.sources.cells import distinct_cells, listed_words, whole_number
from pipelines.sources.embedded import write_embedded
from pipelines.sources.label_names import read_names
from pipelines.sources.list_source import list_source
from pipelines.sources.listing import column
from pipelines.sources.registry import Source

FORMS = "a list, {file: PATH} or {from: data}"


def with_listed_vocabularies(raw_case: dict[str, Any], folder: Path, *, look_up: bool = True) -> list[str]:
    """Replace, in a case as it was read, what tasks say of their classes or labels by a list.

    Args:
        raw_case: the content of the case file, before its validation; changed in place.
        folder: what files are relative to.
        look_up: False where the data lie on another machine.

    Returns:
        what is wrong, one line per mistake.
    """
    tasks, problems = raw_case.get("tasks"), []
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        for key in ("classes", "labels"):
            given = task.get(key) if isinstance(task, dict) else None
            if not isinstance(given, dict):
                continue
            try:
                if set(given) == {"file"}:
                    task[key] = _of_file(folder / str(given["file"]))
                elif given == {"from": "data"}:
                    if not look_up:
                        raise ValueError("found {from: data}, and the data lie on another machine; expected a list")
                    task[key] = _of_data(raw_case, str(name))
                else:
                    raise ValueError(f"found {given}; expected {FORMS}")
            except (ValueError, UserError) as error:
                problems.append(f"tasks.{name}.{key}: {error}")
    return problems


def _of_file(file: Path) -> list[str]:
    try:
        text = read_small(str(file)).decode()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"found {str(file)!r}, which cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    names = read_names(file.name, text)
    return [names[number] for number in sorted(names, key=_natural)]


def _of_data(raw_case: Mapping[str, Any], task: str) -> list[str]:
    datasets, root = raw_case.get("datasets"), str(raw_case.get("data_root"))
    write_embedded(raw_case.get("embedded"), root)
    aliases = {str(word): str(name) for word, name in (raw_case["tasks"][task].get("aliases") or {}).items()}
    found: set[str] = set()
    for name, data_set in datasets.items() if isinstance(datasets, dict) else ():
        rules = data_set.get("labels") if isinstance(data_set, dict) else None
        rule = rules.get(task) if isinstance(rules, dict) else None
        if not isinstance(rule, dict) or rule.get("from") == "model":
            continue
        key = f"datasets.{name}"
        if rule.get("from") not in ("folder", "column", "annotators"):
            raise ValueError(f"found {{from: data}}, and {key} has a column a label; expected a list, or a file")
        try:
            source = TypeAdapter(Source).validate_python(data_set.get("source"))
        except ValidationError:
            raise ValueError(
                f"found {{from: data}}, and {key}.source is not right: see there; expected a list"
            ) from None
        fields = list_source(root, source).fields
        columns = {"folder": ["folder"], "column": [rule.get("column")], "annotators": rule.get("columns") or []}
        for named in columns[rule["from"]]:
            for text in distinct_cells(column(fields, str(named), key))[1]:
                found |= set(_words(text, rule, multilabel=raw_case["tasks"][task].get("kind") == "multilabel"))
    if not found:
        raise ValueError("found {from: data}, and no dataset has labels of it; expected one, or a list")
    return sorted({aliases.get(word, word) for word in found}, key=_natural)


def _words(text: str | None, rule: Mapping[str, Any], *, multilabel: bool) -> Iterator[str]:
    if text is None:
        return
    codes = {str(code) for code in rule.get("not_annotated") or ()}
    values = {str(cell): meaning for cell, meaning in (rule.get("values") or {}).items()}
    parts = [text]
    if multilabel:
        listed = listed_words(text)
        parts = text.split(rule.get("separator") or "|") if listed is None else listed
    for part in parts:
        word = whole_number(part.strip())
        if word in codes or part.strip() in codes:
            continue
        meaning = values.get(word, word)
        if isinstance(meaning, str) and meaning:
            yield meaning


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
