"""Tables in text, CSV and JSON Lines: a row names an image's file, or holds a vector."""

import json
import posixpath
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.sources.csv_lines import StrayQuoteError, sort_out
from pipelines.sources.listing import (
    Listing,
    check_names_differ,
    column,
    joined,
    matching_columns,
    named_or_numbered,
    of_files,
    rejected_rows,
    resolve_relative,
    row_numbers,
    with_vectors,
)
from pipelines.sources.near_names import find_near
from pipelines.sources.places import Place
from pipelines.sources.settings import Columns as ColumnNames
from pipelines.sources.source import SourceSettings
from pipelines.sources.table_columns import Columns, encode, named_numbers, resolved
from pipelines.sources.text_encoding import text_of_table


def _one_byte(given: str) -> str:
    if not given.isascii():
        raise PydanticCustomError("delimiter", "expected one ASCII character")
    return given


class CsvTable(SourceSettings):
    """A table in text with a row an input.

    ``file_column`` holds the image's path, relative to the table's folder, with ``file_prefix`` before it and
    ``file_suffix`` behind it; ``vector_columns`` the numbers, where inputs are vectors (names, or patterns like
    ``feature_*``); ``id_column`` a name for the row. ``quoting``: by default a cell in quotation marks may hold
    anything but lines that look like rows; ``multiline`` lets it, ``none`` takes the marks for text (as between tabs).
    """

    of_files: ClassVar[bool] = True

    kind: Literal["csv"]
    file_column: str = "file"
    """The column with the image's path, relative to the table."""
    vector_columns: Columns = ()
    """The columns that hold the numbers, names or patterns like ``feature_*``, where inputs are vectors; by default
    ``input.columns``."""
    label_columns: ColumnNames = ()
    """Those of them that labels are read from too; a label that is its own input is else refused."""
    id_column: str | None = None
    """The column with a row's name; its number by default."""
    pixels_column: str | None = None
    """In the place of ``file_column``, the column whose cells hold the pixels of square images, line after line."""
    file_prefix: str = ""
    """Before the path of every image."""
    file_suffix: str = ""
    """Behind it, like ``.jpg``."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_one_byte)] = ","
    """What stands between columns."""
    quoting: Literal["auto", "multiline", "none"] = "auto"
    """What quotation marks are; between tabs they are text."""

    def list_rows(self, place: Place) -> Listing:
        """List the rows of a table."""
        return list_csv(place, self)


class JsonLines(SourceSettings):
    """A JSON object a line. Columns as in a CSV file; a column may hold a list (the labels that hold, the vector)."""

    of_files: ClassVar[bool] = True

    kind: Literal["json_lines"]
    file_column: str = "file"
    """The column with the image's path, relative to the table."""
    vector_columns: Columns = ()
    """The columns that hold the numbers, names or patterns like ``feature_*``, where inputs are vectors; by default
    ``input.columns``."""
    label_columns: ColumnNames = ()
    """Those of them that labels are read from too; a label that is its own input is else refused."""
    id_column: str | None = None
    """The column with a row's name; its number by default."""
    pixels_column: str | None = None
    """In the place of ``file_column``, the column whose cells hold the pixels of square images, line after line."""
    file_prefix: str = ""
    """Before the path of every image."""
    file_suffix: str = ""
    """Behind it, like ``.jpg``."""

    def list_rows(self, place: Place) -> Listing:
        """List the rows of a file."""
        return list_json_lines(place, self)


_LONGEST_LINE = 10_000  # characters of a broken line that are kept
_Broken = tuple[int, str, str]  # a line's number, what is wrong with it, and the line
_PARSE_AT_ONCE = 8 << 20  # bytes; a single row must fit


def list_csv(place: Place, source: CsvTable) -> Listing:
    """List the rows of a CSV file; every column is text.

    Raises:
        UserError: the file is no table in UTF-8, or lacks a column.
    """
    assert place.file is not None
    content = place.tree().read(place.file)
    if not content.strip():
        raise UserError(f"{place}: the file is empty; expected a line with the columns' names")
    try:
        text_of_table(content)
    except ValueError as error:
        raise UserError(f"{place}: {error}") from None
    # a table between tabs has captions and inches, not quotes
    quotes = source.delimiter != "\t" and source.quoting != "none"
    try:
        delimiter = source.delimiter.encode()
        records = sort_out(content, delimiter, quotes=quotes, multiline=source.quoting == "multiline")
    except StrayQuoteError as error:
        raise UserError(f"{place}, {error}") from None
    try:
        header = _header(records.content, source.delimiter, quotes)
        table = pacsv.read_csv(
            pa.BufferReader(records.content),
            read_options=pacsv.ReadOptions(block_size=_PARSE_AT_ONCE, use_threads=False),
            parse_options=pacsv.ParseOptions(
                delimiter=source.delimiter, quote_char='"' if quotes else False, newlines_in_values=quotes
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise UserError(f"{place}: {error}") from None
    other = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
    if other is not None:
        raise UserError(
            f"{place}: found one column, {header[0]!r}; expected several: columns seem to be separated by {other!r}, "
            f"for which source.delimiter: {json.dumps(other)} is there"
        )
    check_names_differ(header, place)
    listing = _with_broken(place, _list_table(place, source, table), records.broken)
    return listing.with_notes({"lines that belong to the row before them (a cell over several lines)": records.lines})


def _header(content: bytes, delimiter: str, quotes: bool) -> list[str]:
    end = content.find(b"\n") + 1
    if not quotes or b'"' not in content[:end]:  # by pyarrow, which looks for types, 100,000 columns take seconds
        return content[: end - 1].decode().split(delimiter)
    options = pacsv.ParseOptions(delimiter=delimiter, quote_char='"' if quotes else False)
    return pacsv.open_csv(pa.BufferReader(content[:end]), parse_options=options).schema.names  # type: ignore[no-any-return]


def list_json_lines(place: Place, source: JsonLines) -> Listing:
    """List the rows of a file with a JSON object a line; a line that is none goes to quarantine.

    Raises:
        UserError: the file is not UTF-8, or lacks a column.
    """
    assert place.file is not None
    rows: list[dict[str, Any]] = []
    broken: list[_Broken] = []
    for number, line in enumerate(place.tree().read_text(place.file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("no JSON object")
            json.dumps(row, ensure_ascii=False).encode()  # raises for half of a surrogate pair, which is no text
            rows.append(row)
        except (ValueError, RecursionError) as error:
            broken.append((number, f"not a JSON object: {error}", line[:_LONGEST_LINE]))
    if not rows:
        raise UserError(f"{place}: found no line that holds a JSON object; expected one an input")
    names = list({name: None for row in rows for name in row})
    table = pa.table({name: column_of([row.get(name) for row in rows]) for name in names})
    return _with_broken(place, _list_table(place, source, table), broken)


def _with_broken(place: Place, listing: Listing, broken: Sequence[_Broken]) -> Listing:
    """Add the lines that are no rows, for quarantine."""
    if not broken:
        return listing
    numbers, reasons, lines = zip(*broken, strict=True)
    ids = [f"{place.name}#line-{number}" for number in numbers]
    return joined([listing, rejected_rows(place, ids, reasons, pa.table({"line": pa.array(lines, pa.string())}))])


def column_of(values: list[Any]) -> pa.Array:
    """Return values as a column; of mixed types, as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # mixed: as the text that a CSV file would hold
        return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string())


def _list_table(place: Place, source: CsvTable | JsonLines, table: pa.Table) -> Listing:
    assert place.file is not None
    if source.vector_columns:
        columns = resolved(table.column_names, source.vector_columns, place)
        names = [one.name for one in columns]
        vectors, reasons = encode(table, columns)
        n = table.num_rows
        numbered = row_numbers(posixpath.basename(place.file), n)
        ids = column(table, source.id_column, place) if source.id_column else numbered
        file = place.tree().find(pa.array([place.file]))
        files = file.take(pa.array([0] * n, pa.int64()))
        kept = matching_columns(names, source.label_columns, place)
        dropped = set(names) - set(kept)
        rest = table.select([name for name in table.column_names if name not in dropped])
        listing = of_files(place, named_or_numbered(place, _text(ids)), files, rest)
        return with_vectors(listing, vectors, reasons, named_numbers(table, columns))
    if source.pixels_column is not None:
        return _list_pixels(place, source, table, source.pixels_column)
    if source.file_column not in table.column_names:
        near = did_you_mean(source.file_column, table.column_names)
        raise UserError(
            f"{place}: there is no column {source.file_column!r}{near}; "
            "source.file_column says which holds the image's path (source.pixels_column, its pixels)"
        )
    names = _text(table[source.file_column])
    files, notes = find_near(place.tree(), resolve_relative(place, _affixed(names, source)))
    ids = _text(column(table, source.id_column, place)) if source.id_column else names
    return of_files(place, named_or_numbered(place, ids), files, table).with_notes(notes)


def _list_pixels(place: Place, source: CsvTable | JsonLines, table: pa.Table, named: str) -> Listing:
    """List rows whose images stand in a cell each, as numbers with blanks or commas between, or as a list."""
    cells, n = column(table, named, place), table.num_rows
    vectors: list[list[float]] = []
    reasons: list[str | None] = [None] * n
    for i, cell in enumerate(cells.to_pylist()):
        parts = cell.strip("[] ").replace(",", " ").split() if isinstance(cell, str) else cell or []
        try:
            vectors.append([float(part) for part in parts])
        except (TypeError, ValueError):
            vectors.append([])
            reasons[i] = f"no number: column {named!r} holds {str(cell)!r:.60}; expected numbers"
        if not parts:
            reasons[i] = f"missing value: column {named!r} is empty"
    assert place.file is not None
    numbered = row_numbers(posixpath.basename(place.file), n)
    ids = _text(column(table, source.id_column, place)) if source.id_column else numbered
    files = place.tree().find(pa.array([place.file])).take(pa.array([0] * n, pa.int64()))
    listing = of_files(place, named_or_numbered(place, ids), files, table.drop_columns([named]))
    return with_vectors(listing, pa.array(vectors, pa.list_(pa.float32())), reasons)


def _affixed(names: pa.Array, source: CsvTable | JsonLines) -> pa.Array:
    if not source.file_prefix and not source.file_suffix:
        return names
    return pc.binary_join_element_wise(source.file_prefix, names, source.file_suffix, "")


def _text(values: pa.ChunkedArray) -> pa.Array:
    text = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return pc.fill_null(text.cast(pa.string()), "")
