"""Look at a folder, an archive or a table that nobody has described: what could be learnt from it."""

import csv
import io
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.base.errors import UserError, one_line
from pipelines.base.storage import StorageUnavailableError, join, kind_of, parent, read_bytes
from pipelines.sources.archives import archive_kind
from pipelines.sources.image_folder import is_picture
from pipelines.sources.tree import Tree

TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "json_lines", ".ndjson": "json_lines", ".parquet": "parquet"}
_SPLITS = {
    "train": ("train", "training", "trainval"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "holdout"),
}
_SPLIT_COLUMNS = ("split", "partition", "subset", "part", "set", "fold")
_LABEL_COLUMNS = ("label", "target", "class", "y", "category", "species", "diagnosis", "outcome")
_YES_NO = {"1", "0", "true", "false", "yes", "no", "y", "n", "t", "f", "on", "off", "1.0", "0.0"}
_MOST_CLASSES, _MOST_NUMBERS, _LARGEST_TABLE = 1000, 30, 1 << 30


@dataclass
class Found:
    """A dataset that could be made: a source's settings, the split that its name tells, and its labels by task.

    Attributes:
        name: of the dataset.
        source: as in a case file.
        rows: how many.
        split: None where nothing tells.
        where: column and values that select a split of a table.
        classes: by multiclass task: the classes that occur, and the rule.
        labels: by multilabel task: the labels, and the rule.
        vector: the columns of numbers, where these are the input.
        left_out: columns that are none of it, and why.
        pictures: names of some images, below data_root.
    """

    name: str
    source: dict[str, object]
    rows: int
    split: str | None = None
    where: dict[str, list[str]] = field(default_factory=dict)
    classes: dict[str, tuple[list[str], dict[str, object]]] = field(default_factory=dict)
    labels: dict[str, tuple[list[str], dict[str, object]]] = field(default_factory=dict)
    vector: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)


def look(place: str) -> tuple[str, list[Found]]:
    """Return the data_root of a place, and the datasets that could be made of what lies there.

    Args:
        place: a folder, an archive or a table; a path or URL.

    Raises:
        UserError: there is nothing, or nothing that could be learnt from.
    """
    if kind_of(place) == "none":
        raise UserError(f"PLACE: found {place!r}, and nothing there; expected a folder, an archive or a table")
    try:
        return _looked_at(place)
    except (UserError, StorageUnavailableError):
        raise
    except Exception as error:  # whatever damaged bytes bring a library to
        raise UserError(
            f"PLACE: {place} cannot be looked at ({type(error).__name__}: {one_line(error)}); expected a folder, an "
            "archive or a table"
        ) from error


def _looked_at(place: str) -> tuple[str, list[Found]]:
    table = _table_kind(place)
    if table is not None:
        root = parent(place) or "."
        return root, _of_table(root, place.partition("?")[0].rpartition("/")[2], Tree(root).names())
    names = [name for name in Tree(place).names() if not posixpath.basename(name).startswith(".")]
    found: list[Found] = []
    for name in names:
        if _table_kind(name) is not None and archive_kind(place) is None:
            found += _of_table(place, name, names)
    in_tables = {picture for one in found for picture in one.pictures}
    folders = {posixpath.dirname(picture) for picture in in_tables}
    found += _of_folders([n for n in names if is_picture(n) and posixpath.dirname(n) not in folders])
    if not any(one.classes or one.labels for one in found):
        images, tables = sum(map(is_picture, names)), sum(_table_kind(name) is not None for name in names)
        raise UserError(
            f"{place}: found {images:,} images and {tables} tables, and no labels; expected images in folders that "
            "name their class, or a table with a column of images (or columns of numbers) and columns of labels"
        )
    return place, [one for one in found if one.classes or one.labels]


def _table_kind(name: str) -> str | None:
    ending = posixpath.splitext(name.partition("?")[0])[1].lower()
    return TABLES.get(ending)


def split_of(name: str) -> str | None:
    """Return the split that a name's words tell."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return next((split for split, of in _SPLITS.items() if words & set(of)), None)


def _of_folders(pictures: Sequence[str]) -> Iterator[Found]:
    """Group images by the folder above their class's."""
    by_base: dict[str, Counter[str]] = {}
    for name in pictures:
        folder = posixpath.dirname(name)
        if folder:
            by_base.setdefault(posixpath.dirname(folder), Counter())[posixpath.basename(folder)] += 1
    several = len(by_base) > 1
    for base, classes in sorted(by_base.items()):
        if len(classes) < 2:
            continue
        parts = [part for part in base.split("/") if part]
        task = next((part for part in reversed(parts) if split_of(part) is None), "label")
        some = [name for name in pictures if posixpath.dirname(posixpath.dirname(name)) == base]
        yield Found(
            name=base.replace("/", "_") or "images",
            source={"kind": "image_folder", "path": base if several and base else base or "."},
            rows=sum(classes.values()),
            split=split_of(base),
            classes={task: (sorted(classes), {"from": "folder"})},
            pictures=some[:: max(1, len(some) // 50)],
        )


def _of_table(root: str, name: str, names: Sequence[str]) -> list[Found]:
    """Return the datasets of a table: one, or one a split that a column tells."""
    columns = _columns(join(root, name), name)
    rows = max(map(len, columns.values()), default=0)
    if not rows:
        return []
    kind = _table_kind(name)
    files = set(names)
    pictures = {}
    for column, cells in columns.items():
        some = [cell for cell in cells if cell][:50]
        paths = [posixpath.normpath(posixpath.join(posixpath.dirname(name), cell)) for cell in some]
        if some and all(is_picture(cell) for cell in some) and sum(path in files for path in paths) * 2 > len(paths):
            pictures[column] = paths
    image = next(iter(pictures), None)
    binary = kind == "parquet" and image is None and "image" in columns and columns["image"][0] == _BYTES
    source: dict[str, object] = {"kind": kind, "path": name}
    if kind == "csv" and name.lower().endswith(".tsv"):
        source["delimiter"] = "\t"
    if image is not None and image != ("image" if kind == "parquet" else "file"):
        source["image_column" if kind == "parquet" else "file_column"] = image
    one = Found(posixpath.splitext(name)[0].replace("/", "_"), source, rows, split_of(name))
    one.pictures = pictures.get(image, []) if image else []
    rest = {c: cells for c, cells in columns.items() if c not in pictures and cells[0] != _BYTES}
    split_column = next((c for c in rest if c.lower() in _SPLIT_COLUMNS and set(map(split_of, rest[c])) - {None}), None)
    splits = rest.pop(split_column) if split_column else []
    _sort_columns(one, rest, numbers=image is None and not binary)
    if one.vector:
        source["vector_columns"] = one.vector
    if not splits:
        return [one]
    parts = []
    for split in _SPLITS:
        values = sorted({cell for cell in splits if split_of(cell) == split})
        if values and split_column:
            count = sum(cell in values for cell in splits)
            parts.append(
                Found(f"{one.name}_{split}", source, count, split, {split_column: values}, one.classes, one.labels,
                      one.vector, one.left_out, one.pictures)
            )  # fmt: skip
    return parts


_BYTES = "<bytes>"


def _sort_columns(one: Found, columns: dict[str, list[str]], numbers: bool) -> None:
    """Tell labels, numbers and what is neither apart."""
    yes_no: list[str] = []
    for column, cells in columns.items():
        filled = [cell for cell in cells if cell]
        distinct = sorted(set(filled))
        numeric = bool(filled) and all(_is_number(cell) for cell in distinct)
        named = column.lower() in _LABEL_COLUMNS or column.lower().endswith(("_label", "_class"))
        if not filled:
            one.left_out[column] = "empty"
        elif numbers and numeric and not named:
            if len(filled) == len(cells):
                one.vector.append(column)
            else:
                one.left_out[column] = f"{len(cells) - len(filled)} cells are empty"
        elif {cell.lower() for cell in distinct} <= _YES_NO:
            yes_no.append(column)
        elif any("|" in cell for cell in distinct):
            words = sorted({word.strip() for cell in distinct for word in cell.split("|") if word.strip()})
            one.labels[column] = (words, {"from": "column", "column": column})
        elif 1 < len(distinct) <= (_MOST_NUMBERS if numeric and not named else min(_MOST_CLASSES, len(filled) // 2)):
            ordered = sorted(distinct, key=lambda cell: (float(cell) if numeric else 0.0, cell))
            one.classes[column] = (ordered, {"from": "column", "column": column})
        else:
            one.left_out[column] = "one value alone" if len(distinct) == 1 else "nearly every row has another value"
    if yes_no:
        one.labels["labels"] = (yes_no, {"from": "columns"})
    if not (one.classes or one.labels):
        one.vector = []


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _columns(url: str, name: str) -> dict[str, list[str]]:
    """Return a table's columns as text; empty cells are empty."""
    content = read_bytes(url)
    if len(content) > _LARGEST_TABLE:
        raise UserError(f"{url}: found {len(content):,} bytes; expected at most {_LARGEST_TABLE:,} to look at")
    kind = _table_kind(name)
    try:
        if kind == "parquet":
            table = pq.read_table(io.BytesIO(content))
            return {column: _cells(table[column]) for column in table.column_names}
        text = content.decode("utf-8-sig")
        if kind == "json_lines":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            keys = list(dict.fromkeys(key for row in rows for key in row))
            return {key: [_word(row.get(key)) for row in rows] for key in keys}
        lines = csv.reader(io.StringIO(text), delimiter="\t" if name.lower().endswith(".tsv") else ",")
        header, *body = [line for line in lines if line]
        return {column: [line[i].strip() if i < len(line) else "" for line in body] for i, column in enumerate(header)}
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        raise UserError(f"{url}: cannot be read as a table: {error}") from None


def _cells(column: pa.ChunkedArray) -> list[str]:
    kind = column.type
    if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_list(kind):
        return [_BYTES] * len(column)
    return [_word(value) for value in column.to_pylist()]


def _word(value: object) -> str:
    if isinstance(value, list):
        return "|".join(map(str, value)) + ("|" if len(value) == 1 else "")
    return "" if value is None or value != value else str(value).strip()
