"""List the rows of a source: a stable id, where the picture is, and the labels as the source writes them."""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from mtlcore.nearest import did_you_mean
from pipelines.case import CsvTable, ImageFolder, LabelRule, ParquetTable, Source
from pipelines.errors import UserError
from pipelines.sources.location import Location, open_zip

PICTURE_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class SourceRow:
    """A row of a source.

    Attributes:
        id: stable: the picture's path below the source, or the row's number.
        fetch: what the reader needs to fetch the picture: a path below the location, or the row's number.
        stamp: changes when the picture does (size and time, or the archive's checksum).
        fields: the source's own columns; for a folder, ``folder``.
    """

    id: str
    fetch: str | int
    stamp: str
    fields: dict[str, Any]


def list_rows(source: Source, location: Location) -> list[SourceRow]:
    """List a source's rows in an order that depends on their names alone.

    Raises:
        UserError: the source cannot be read, or lacks a column.
    """
    if isinstance(source, ImageFolder):
        return sorted(_image_folder(location), key=lambda row: row.id)
    if isinstance(source, CsvTable):
        return list(_csv_table(source, location))
    return list(_parquet_table(source, location))


def _image_folder(location: Location) -> Iterator[SourceRow]:
    for name, stamp in _files_below(location):
        path = PurePosixPath(name)
        if path.suffix.lower() in PICTURE_ENDINGS:
            yield SourceRow(name, name, stamp, {"folder": path.parent.name})


def _files_below(location: Location) -> Iterator[tuple[str, str]]:
    if location.archive is not None:
        prefix = f"{location.path}/" if location.path else ""
        for member in open_zip(location.archive).infolist():
            if member.filename.startswith(prefix) and not member.is_dir():
                yield member.filename[len(prefix) :], f"{member.CRC:08x}"
        return
    root = Path(location.path)
    for path in root.rglob("*"):
        if path.is_file():
            yield path.relative_to(root).as_posix(), _stamp(path)


def _archive_stamps(location: Location) -> dict[str, str]:
    if location.archive is None:
        return {}
    return {member.filename: f"{member.CRC:08x}" for member in open_zip(location.archive).infolist()}


def _stamp(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size}-{found.st_mtime_ns}"


def _csv_table(source: CsvTable, location: Location) -> Iterator[SourceRow]:
    folder = location.path.rpartition("/")[0]
    try:
        text = _whole(location).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{location}: byte {error.start} is not UTF-8; a table in UTF-8 is right") from None
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=source.delimiter)
    if source.file_column not in (table.fieldnames or []):
        near = did_you_mean(source.file_column, table.fieldnames or [])
        raise UserError(f"{location}: there is no column {source.file_column!r}{near}")
    stamps = _archive_stamps(location)
    for row in table:
        name = str(row[source.file_column])
        on_disk = Path(folder) / name
        if location.archive is not None:
            stamp = stamps.get(f"{folder}/{name}" if folder else name, "")
        else:
            stamp = _stamp(on_disk) if on_disk.is_file() else ""
        yield SourceRow(name, name, stamp, row)


def _parquet_table(source: ParquetTable, location: Location) -> Iterator[SourceRow]:
    file = _open_parquet(location)
    columns = file.schema_arrow.names
    if source.image_column not in columns:
        raise UserError(
            f"{location}: there is no column {source.image_column!r}{did_you_mean(source.image_column, columns)}"
        )
    stamp = _archive_stamps(location)[location.path] if location.archive else _stamp(Path(location.path))
    rows = file.read([name for name in columns if name != source.image_column]).to_pylist()
    for i, row in enumerate(rows):
        yield SourceRow(f"{i:09d}", i, stamp, row)


def _open_parquet(location: Location) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(_whole(location)) if location.archive else location.path)


def _whole(location: Location) -> bytes:
    folder, _, name = location.path.rpartition("/")
    return Location(location.archive, folder).read(name)


def fetch_pictures(source: Source, location: Location, wanted: Iterable[str | int]) -> Iterator[bytes | Exception]:
    """Yield the encoded pictures of some rows in the order asked for; for one that cannot be read, why."""
    if isinstance(source, ParquetTable):
        file = _open_parquet(location)
        column = file.read([source.image_column]).column(0)
        for i in wanted:
            value = column[i].as_py()
            # The Hugging Face layout wraps the bytes: {"bytes": ..., "path": ...}.
            value = value.get("bytes") if isinstance(value, dict) else value
            yield value if value is not None else ValueError("no picture in this row")
        return
    folder = location.path if isinstance(source, ImageFolder) else location.path.rpartition("/")[0]
    place = Location(location.archive, folder)
    for name in wanted:
        try:
            yield place.read(str(name))
        except Exception as error:  # one broken member must not end the others
            yield error


_TRUE, _FALSE = {"1", "true", "yes", "1.0"}, {"0", "false", "no", "0.0"}


def _is_empty(value: Any) -> bool:
    """Say whether a cell is empty: no text, a null, or a float column's NaN. Nothing else means "not annotated"."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def read_label(rule: LabelRule, task_outputs: tuple[str, ...], multilabel: bool, row: SourceRow) -> Any:
    """Return a row's label as the source writes it, aligned to the vocabulary.

    Returns:
        the class's index (multiclass), a list of bool or None a label (multilabel), or None: not annotated.

    Raises:
        UserError: a label outside the vocabulary, or a column that is not there; the message is to be completed
            with the source's name.
    """
    if rule.where == "columns":
        return [_truth(row, label) for label in task_outputs]
    name = "folder" if rule.where == "folder" else str(rule.column)
    value = _field(row, name)
    if _is_empty(value):
        return None
    if not multilabel:
        return _index(row, value, task_outputs)
    holding = value.split("|") if isinstance(value, str) else value
    held = {_index(row, label.strip() if isinstance(label, str) else label, task_outputs) for label in holding}
    return [i in held for i in range(len(task_outputs))]


def _field(row: SourceRow, name: str) -> Any:
    if name not in row.fields:
        raise UserError(f"there is no column {name!r}{did_you_mean(name, row.fields)}")
    return row.fields[name]


def _index(row: SourceRow, value: Any, vocabulary: tuple[str, ...]) -> int:
    try:
        return vocabulary.index(str(value))
    except ValueError:
        near = did_you_mean(value, vocabulary)
        raise UserError(f"row {row.id}: found the label {str(value)!r}, which the task does not have{near}") from None


def _truth(row: SourceRow, label: str) -> bool | None:
    value = _field(row, label)
    if _is_empty(value):
        return None
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise UserError(f"row {row.id}, column {label!r}: found {value!r}; 1, 0, true, false or empty is right")
