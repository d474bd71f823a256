"""Build relatedness tables from every form that a case file accepts.

===============================  ==================================================================================
key of an edge                   what it gives
===============================  ==================================================================================
``table: {...}``                 rows, also as ``{prototypical: [...], observational: {...}}``, or null: unknown
``table: expression_to_au``      the published table, for the tasks' own classes and labels
``file: x.csv``                  one row per class, one column per label; an empty cell is unknown
``file: x.yaml``                 a table, or a mapping with the key ``table`` (and ``base``), as `kindred relate` writes
``file: x.safetensors``          what ``mtlcore.save_relatedness`` wrote
``hierarchy: {child: parent}``   a tree: what a class belongs to, over any number of levels (also as ``file`` there)
``through: task``                the edges from -> task and task -> to, composed
``bins: true``                   what follows from the ``bins`` by which both tasks cut one column of numbers
``rows: {...}``                  beside any of these: rows that are stated here and stand above the others'
===============================  ==================================================================================
"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mtlcore import (
    Multiclass,
    Multilabel,
    Ordinal,
    Regression,
    Relatedness,
    Task,
    composed_relatedness,
    expression_to_au,
    load_relatedness,
    relatedness_from_bins,
    relatedness_from_hierarchy,
)
from mtlcore.relatedness.relatedness import known_rows
from mtlcore.relatedness.rows import expanded_row
from mtlcore.suggestions import did_you_mean
from pipelines.base.plain_json import read_small

_BUILT_IN = ("expression_to_au",)
_WAYS = ("table", "file", "hierarchy", "through", "bins")
_IN_A_FILE = {"table", "base", "support", "interval", "provenance", "tasks"}

# For an editor: the JSON Schema of the keys that become a ``table`` when a case file is read.
EDGE_FORMS: dict[str, Any] = {
    "file": {"type": "string", "description": "A table's file (.csv, .tsv, .yaml, .safetensors) by the case file."},
    "hierarchy": {
        "anyOf": [{"type": "string"}, {"type": "object"}],
        "description": "A tree, child: parent, or the YAML file that holds it.",
    },
    "through": {"type": "string", "description": "A task: the edges from -> task and task -> to are composed."},
    "bins": {"const": True, "description": "Both tasks cut one column of numbers by bins: the table follows."},
    "rows": {"type": "object", "description": "Rows that stand above those of the table, file or hierarchy."},
}
ReadYaml = Callable[[Path], Any]


def with_plain_tables(raw_case: dict[str, Any], folder: Path, read_yaml: ReadYaml) -> list[str]:
    """Replace, in a case as it was read, what edges say by their rows; return what is wrong, one line per mistake.

    Args:
        raw_case: the content of the case file, before its validation; changed in place.
        folder: what files are relative to.
        read_yaml: reads a YAML file.
    """
    listed = raw_case.get("relatedness")
    edges: list[Any] = listed if isinstance(listed, list) else []
    problems: list[str] = []
    composed: list[int] = []
    for i, edge in enumerate(edges):
        if not isinstance(edge, dict):
            continue
        ways = [way for way in _WAYS if edge.get(way) is not None]
        if len(ways) > 1:
            problems.append(f"relatedness.{i}: found both {ways[0]!r} and {ways[1]!r}; expected one of them")
        elif ways == ["through"]:
            composed.append(i)
        elif ways:
            try:
                _plain(edge, ways[0], raw_case, folder, read_yaml)
            except ValueError as error:
                problems.append(f"relatedness.{i}.{ways[0]}: {error}")
    for i in composed:
        try:
            _compose(edges[i], edges, raw_case)
        except ValueError as error:
            problems.append(f"relatedness.{i}.through: {error}")
    return problems


def _plain(edge: dict[str, Any], way: str, raw_case: dict[str, Any], folder: Path, read_yaml: ReadYaml) -> None:
    if way == "file":
        _read_file(edge, raw_case, folder, read_yaml)
    elif way == "hierarchy":
        tree = edge.pop("hierarchy")
        if isinstance(tree, str):
            tree = read_yaml(_existing(folder, tree))
        if not isinstance(tree, dict):
            raise ValueError(f"found {type(tree).__name__}; expected a mapping from child to parent")
        source, target = _ends(edge, raw_case)
        relatedness = relatedness_from_hierarchy(
            source, target, {str(child): str(parent) for child, parent in tree.items()}
        )
        edge["table"] = dict(known_rows(relatedness))
    elif way == "bins":
        edge["table"] = _of_bins(edge, raw_case)
    elif isinstance(edge["table"], str):
        edge["table"] = _built_in(edge, raw_case)
    stated = edge.pop("rows", None)
    if not isinstance(edge["table"], dict):
        raise ValueError(f"found {type(edge['table']).__name__}; expected a mapping with one row per class")
    if isinstance(stated, dict):
        edge["table"] = {name: row for name, row in edge["table"].items() if str(name) not in map(str, stated)} | stated
    names = f"relatedness {edge.get('from')} -> {edge.get('to')}"
    edge["table"] = {
        name: expanded_row(row, (), f"{names}, row {str(name)!r}")
        if isinstance(row, dict) and {"prototypical", "observational"} & set(row) and not _is_label(row, edge, raw_case)
        else row
        for name, row in edge["table"].items()
    }


def _of_bins(edge: dict[str, Any], raw_case: dict[str, Any]) -> dict[str, Any]:
    """Return the table of two tasks that are one column of numbers, cut at different bounds."""
    if edge.pop("bins") is not True:
        raise ValueError("expected true, or no such key: the bins stand in the datasets' label rules")
    source, target = _ends(edge, raw_case)
    (source_bins, of_source), (target_bins, of_target) = (_bins_of(task.name, raw_case) for task in (source, target))
    if not of_source & of_target:
        raise ValueError(
            f"found {source.name!r} of the column {', '.join(sorted(of_source))} and {target.name!r} of "
            f"{', '.join(sorted(of_target))}; expected one number, in a column of the same name"
        )
    return dict(known_rows(relatedness_from_bins(source, target, source_bins, target_bins)))


def _bins_of(task: str, raw_case: dict[str, Any]) -> tuple[list[float], set[str]]:
    """Return the bins by which all datasets cut a task's numbers, and the columns that these stand in."""
    found: dict[str, tuple[list[float], str]] = {}
    datasets = raw_case.get("datasets")
    for name, data_set in datasets.items() if isinstance(datasets, dict) else ():
        labels = data_set.get("labels") if isinstance(data_set, dict) else None
        rule = labels.get(task) if isinstance(labels, dict) else None
        if isinstance(rule, dict):
            key = f"datasets.{name}.labels.{task}"
            bins = rule.get("bins")
            if not isinstance(bins, list) or not bins:
                raise ValueError(f"{key} has no bins; expected them in every dataset that has the task")
            try:
                found[key] = [float(bound) for bound in bins], str(rule.get("column") or "folder")
            except (TypeError, ValueError):
                raise ValueError(f"{key}.bins: found {bins}; expected rising numbers") from None
    if not found:
        raise ValueError(f"no dataset has labels of {task!r}; expected a column of numbers that is cut by bins")
    (first, (bins_of_first, _)), *others = found.items()
    for key, (bins_of_other, _) in others:
        if bins_of_other != bins_of_first:
            raise ValueError(f"{key} has other bins than {first}; expected the same")
    return bins_of_first, {column for _, column in found.values()}


def _is_label(row: dict[Any, Any], edge: dict[str, Any], raw_case: dict[str, Any]) -> bool:
    """Whether B itself has a label called `prototypical`: then a row means what it says."""
    task = (raw_case.get("tasks") or {}).get(edge.get("to"))
    names = (task.get("classes") or task.get("labels") or ()) if isinstance(task, dict) else ()
    return bool({"prototypical", "observational"} & set(names))


def _built_in(edge: dict[str, Any], raw_case: dict[str, Any]) -> dict[str, Any]:
    if edge["table"] not in _BUILT_IN:
        raise ValueError(
            f"found {edge['table']!r}; expected rows, or one of {', '.join(_BUILT_IN)}"
            f"{did_you_mean(edge['table'], _BUILT_IN)}"
        )
    source, target = _ends(edge, raw_case)
    if not isinstance(source, Multiclass) or not isinstance(target, Multilabel):
        raise ValueError(
            f"found {edge['table']!r} from {source.name!r} to {target.name!r}; "
            "expected a multiclass source and a multilabel target"
        )
    # The table's words may be aliases of the task's own: {happiness: happy}.
    words = {name: _as_published(name, edge["from"], raw_case) for name in source.classes}
    units = {name: _as_published(name, edge["to"], raw_case) for name in target.labels}
    published = expression_to_au(
        Multiclass(source.name, tuple(words.values())), Multilabel(target.name, tuple(units.values()))
    )
    return dict(known_rows(Relatedness(source, target, published.table)))


def _as_published(name: str, task: str, raw_case: dict[str, Any]) -> str:
    published = {*expression_to_au().source.outputs, *expression_to_au().target.outputs}
    aliases = raw_case["tasks"][task].get("aliases") or {}
    synonyms = [str(word) for word, output in aliases.items() if str(output) == name and str(word) in published]
    return name if name in published or not synonyms else synonyms[0]


def _existing(folder: Path, name: str) -> Path:
    file = folder / name
    if file.is_file():
        return file
    near = [p.name for p in file.parent.glob("*") if p.suffix in (".yaml", ".yml", ".csv", ".tsv", ".safetensors")]
    base = file.parent if file.parent.is_dir() else folder
    raise ValueError(f"found {name!r}, no such file; expected a path relative to {base}{did_you_mean(file.name, near)}")


def _read_file(edge: dict[str, Any], raw_case: dict[str, Any], folder: Path, read_yaml: ReadYaml) -> None:
    file = _existing(folder, str(edge.pop("file")))
    if file.suffix in (".csv", ".tsv"):
        edge["table"] = read_csv_table(file)
    elif file.suffix == ".safetensors":
        relatedness = load_relatedness(file)
        source, target = _ends(edge, raw_case)
        for task, stored in ((source, relatedness.source), (target, relatedness.target)):
            if (type(task), task.outputs) != (type(stored), stored.outputs):
                raise ValueError(
                    f"{file}: task {stored.name!r} has other classes or labels than {task.name!r} here; "
                    "expected the same"
                )
        edge["table"] = dict(known_rows(relatedness))
        if relatedness.base is not None:
            edge["base"] = dict(zip(target.outputs, relatedness.base.tolist(), strict=True))
    else:
        content = read_yaml(file)
        if isinstance(content, dict) and "table" in content and set(content) <= _IN_A_FILE:
            edge["table"] = content["table"]
            if content.get("base") is not None:
                edge.setdefault("base", content["base"])
        else:
            edge["table"] = content
    if edge["table"] is None:
        raise ValueError(f"{file}: holds no table; expected one row per class")


def read_csv_table(file: Path) -> dict[str, dict[str, float | None]]:
    """Return a table's rows: the first column names the class, the others are labels; an empty cell is unknown.

    Raises:
        ValueError: the file is empty, a row is too long or too short, stands twice, or a cell is no number; names
            file and line, cell and row.
    """
    try:
        with io.StringIO(read_small(str(file)).decode("utf-8-sig"), newline="") as opened:
            lines = list(csv.reader(opened, delimiter="\t" if file.suffix == ".tsv" else ",", strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file}: not a table in UTF-8: {error}") from None
    lines = [[cell.strip() for cell in line] for line in lines]
    if not lines or len(lines[0]) < 2:
        raise ValueError(f"{file}: found no header; expected a first line with one column per label")
    header = lines[0][1:]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{file}, line 1: the column {twice!r} stands twice; expected one")
    rows: dict[str, dict[str, float | None]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not any(line):
            continue
        if len(line) != len(lines[0]):
            raise ValueError(f"{file}, line {number}: found {len(line)} cells; expected {len(lines[0])} as in line 1")
        if line[0] in rows:
            raise ValueError(f"{file}, line {number}: the row {line[0]!r} stands twice; expected one")
        rows[line[0]] = {
            label: _cell(text, f"{file}, line {number}, row {line[0]!r}, cell {label!r}")
            for label, text in zip(header, line[1:], strict=True)
        }
    return rows


def _cell(text: str, place: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{place}: found {text!r}; expected a number, or nothing where it is unknown") from None


def _ends(edge: Mapping[str, Any], raw_case: dict[str, Any]) -> tuple[Task, Task]:
    return _task(edge.get("from"), raw_case), _task(edge.get("to"), raw_case)


def _task(name: Any, raw_case: dict[str, Any]) -> Task:
    tasks = raw_case.get("tasks")
    described = tasks.get(name) if isinstance(tasks, dict) else None
    if not isinstance(described, dict):
        raise ValueError(f"there is no task {name!r}{did_you_mean(name, tasks or ())}")
    if described.get("kind") == "ordinal":
        return Ordinal(str(name), tuple(map(str, described.get("classes") or ())))
    if described.get("kind") == "regression":
        return Regression(str(name), tuple(map(str, described.get("outputs") or (name,))))
    if described.get("kind") == "multilabel":
        return Multilabel(str(name), tuple(map(str, described.get("labels") or ())))
    return Multiclass(str(name), tuple(map(str, described.get("classes") or ())))


def _compose(edge: dict[str, Any], edges: list[Any], raw_case: dict[str, Any]) -> None:
    middle = edge.pop("through")

    def edge_table(source: Any, target: Any) -> Relatedness:
        for candidate in edges:
            ends = isinstance(candidate, dict) and (candidate.get("from"), candidate.get("to")) == (source, target)
            if ends and isinstance(candidate.get("table"), dict):
                rows = {str(name): row for name, row in candidate["table"].items()}
                return Relatedness.from_rows(_task(source, raw_case), _task(target, raw_case), rows)
        raise ValueError(f"there is no edge {source} -> {target} with a table; expected both edges to compose")

    first, second = edge_table(edge.get("from"), middle), edge_table(middle, edge.get("to"))
    edge["table"] = dict(known_rows(composed_relatedness(first, second)))
