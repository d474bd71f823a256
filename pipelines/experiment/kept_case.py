"""The case that an experiment keeps: case.yaml for people, and, of a large one, the same beside it as JSON.

A table of 10,000 rows takes a minute to read as YAML, and a second as JSON. The JSON counts only where it is that of
the YAML that lies there: who edits case.yaml is heard.
"""

import hashlib
import json
from typing import Any

from pipelines.base.storage import join, read_bytes, write_whole
from pipelines.case.case import Case
from pipelines.case.load import as_yaml
from pipelines.experiment.layout import CASE_FILE

_JSON, LARGE = "case.json", 1 << 18


def write_case(folder: str, case: Case) -> None:
    """Write a case into its experiment's folder."""
    text = as_yaml(case)
    if len(text) > LARGE:
        content = case.model_dump(mode="json", by_alias=True, exclude_none=True)
        write_whole(join(folder, _JSON), json.dumps({"of": _digest(text.encode()), "case": content}))
    write_whole(join(folder, CASE_FILE), text)


def read_content(folder: str, text: bytes) -> dict[str, Any] | None:
    """Return what case.yaml, whose ``text`` is given, holds, where it was kept as JSON too; else None."""
    if len(text) <= LARGE:
        return None
    try:
        kept = json.loads(read_bytes(join(folder, _JSON)))
        return dict(kept["case"]) if kept["of"] == _digest(text) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
