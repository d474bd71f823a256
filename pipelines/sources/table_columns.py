"""Columns of a table that are a network's input: numbers by name, text as one-hot, missing values by a rule."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator

from pipelines.base.section import Section
from pipelines.sources.listing import matching_columns

# Cells that say that there is no value, beside an empty one.
_CELLS_AT_ONCE = 1 << 16
MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", "?")


class TableColumn(Section):
    """A column of a table that is part of every input.

    A column of numbers is one number; where ``missing`` is ``mean``, two: the second is 1 where the value is missing,
    and the first is then the mean of the rows for training. With ``categories`` it is text, a number a category: 1 for
    the cell's own, 0 for the others; where ``missing`` is ``mean``, all are 0 for a missing one. ``refuse`` sends a row
    with a missing value to quarantine.
    """

    name: str
    """The column's name."""
    categories: tuple[str, ...] = ()
    """The words that its cells hold, in order; without, they are numbers."""
    missing: Literal["refuse", "mean"] | None = None
    """What an empty cell is; by default what the input says."""

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        return len(self.categories) or (2 if self.missing == "mean" else 1)

    @property
    def plain(self) -> tuple[bool, ...]:
        """Say of each of its numbers whether it is 0 or 1, and never scaled."""
        return (True,) * len(self.categories) if self.categories else (False, True)[: self.width]


def columns_alone(value: object) -> object:
    """Make a tuple of a name alone or of one column."""
    return (value,) if isinstance(value, str | Mapping | TableColumn) else value


Columns = Annotated[tuple[str | TableColumn, ...], BeforeValidator(columns_alone)]


def names_of(columns: Sequence[str | TableColumn]) -> list[str]:
    """Return names and patterns."""
    return [one if isinstance(one, str) else one.name for one in columns]


def resolved(present: Sequence[str], columns: Sequence["str | TableColumn"], place: object) -> list[TableColumn]:
    """Return the columns that names and patterns stand for, in the order in which they are declared.

    Raises:
        UserError: there is none for one of them.
    """
    found: dict[str, TableColumn] = {}
    for one in columns:
        for name in matching_columns(present, [one if isinstance(one, str) else one.name], place):
            found.setdefault(
                name, TableColumn.model_construct(name=name) if isinstance(one, str) else _named(one, name)
            )
    return list(found.values())


def named_numbers(table: pa.Table, columns: Sequence[TableColumn]) -> tuple[str, ...]:
    """Return the names under which the numbers are known: none where one column holds lists."""
    if len(columns) == 1 and _holds_lists(table[columns[0].name]):
        return ()
    return tuple(one.name for one in columns)


def _named(column: TableColumn, name: str) -> TableColumn:
    return column.model_copy(update={"name": name})


def encode(table: pa.Table, columns: Sequence[TableColumn]) -> tuple[pa.Array, list[str | None]]:
    """Return every row's numbers, and why a row cannot be used.

    Args:
        table: has all of the columns.
        columns: of a single column that holds lists, the list is the vector.

    Returns:
        lists of float32; and a reason a row, None where there is none. A value that is missing and may be is NaN.
    """
    n = table.num_rows
    reasons: list[str | None] = [None] * n
    if len(columns) == 1 and not columns[0].categories and _holds_lists(table[columns[0].name]):
        return _lists(table[columns[0].name], columns[0].name, reasons), reasons
    parts: list[np.ndarray] = []
    for together in _together(table, columns):
        first = together[0]
        numbers, wrong = _categories(table[first.name], first) if first.categories else _numbers(table, together)
        for i, why in wrong.items():
            reasons[i] = reasons[i] or why
        parts.append(numbers)
    wide = np.concatenate(parts, axis=1) if parts else np.zeros((n, 0), np.float32)
    width = wide.shape[1]
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(wide.reshape(-1), pa.float32())), reasons


def _together(table: pa.Table, columns: Sequence[TableColumn]) -> Iterator[list[TableColumn]]:
    """Yield columns, those of numbers that follow each other and are kept alike together: a table may have a hundred
    thousand columns of a few rows, and to call pyarrow for each takes minutes."""
    most = max(1, _CELLS_AT_ONCE // max(1, table.num_rows))
    kinds = {field.name: field.type for field in table.schema}
    together: list[TableColumn] = []
    for column in columns:
        alike = (
            together
            and not column.categories
            and not together[0].categories
            and column.missing == together[0].missing
            and kinds[column.name] == kinds[together[0].name]
        )
        if together and not (alike and len(together) < most):
            yield together
            together = []
        together.append(column)
    if together:
        yield together


def _text(values: pa.ChunkedArray) -> pa.Array:
    """Return cells as text without white space around, null where there is no value."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_nested(whole.type) or pa.types.is_binary(whole.type):
        return pa.array([None if one is None else str(one) for one in whole.to_pylist()], pa.string())
    text = pc.utf8_trim_whitespace(whole.cast(pa.string()))
    no_value = pc.is_in(pc.utf8_lower(text), pa.array(MISSING_WORDS))
    return pc.if_else(no_value, None, text)


def _numbers(table: pa.Table, columns: Sequence[TableColumn]) -> tuple[np.ndarray, dict[int, str]]:
    """Return the numbers of columns of one type, float32 (n, 1 or 2 a column), and why rows cannot be used."""
    n = table.num_rows
    arrays = [chunk for column in columns for chunk in table[column.name].chunks]
    whole = pa.concat_arrays(arrays) if arrays else pa.array([], pa.float64())
    if pa.types.is_integer(whole.type) or pa.types.is_floating(whole.type) or pa.types.is_boolean(whole.type):
        found = whole.cast(pa.float64(), safe=False)
        numbers = found.to_numpy(zero_copy_only=False).astype(np.float64)
        missing = np.isnan(numbers)
        words = None
    else:
        words = _text(whole)
        missing = pc.is_null(words).to_numpy(zero_copy_only=False)
        try:
            numbers = words.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
        except pa.ArrowInvalid:
            numbers = np.array([_float(word) for word in words.to_pylist()], np.float64)
    wrong: dict[int, str] = {}

    def name(i: int) -> str:
        return str(columns[i // n].name)

    if words is not None:
        for i in np.flatnonzero(np.isnan(numbers) & ~missing).tolist():
            wrong.setdefault(i % n, f"no number: column {name(i)!r} holds {words[i].as_py()!r:.60}, which is text")
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    for i in np.flatnonzero(np.isinf(narrow)).tolist():
        wrong.setdefault(i % n, f"NaN or infinite features: column {name(i)!r} holds {numbers[i]:g}")
    narrow, missing = narrow.reshape(len(columns), n).T, missing.reshape(len(columns), n).T
    if columns[0].missing != "mean":
        for row in np.flatnonzero(missing.any(axis=1)).tolist():
            wrong.setdefault(row, f"missing value: column {columns[int(missing[row].argmax())].name!r} is empty")
        return narrow, wrong
    both = np.stack([np.where(missing, np.float32("nan"), narrow), missing.astype(np.float32)], axis=2)
    return both.reshape(n, -1), wrong


def _categories(values: pa.ChunkedArray, column: TableColumn) -> tuple[np.ndarray, dict[int, str]]:
    words = _text(values)
    at = pc.index_in(words, pa.array(column.categories, pa.string()))
    places = pc.fill_null(at, -1).to_numpy(zero_copy_only=False)
    missing = pc.is_null(words).to_numpy(zero_copy_only=False)
    wrong: dict[int, str] = {}
    for i in np.flatnonzero((places < 0) & ~missing).tolist():
        some = ", ".join(column.categories[:6]) + (", ..." if len(column.categories) > 6 else "")
        wrong[i] = f"unknown category: column {column.name!r} holds {words[i].as_py()!r:.60}; expected one of {some}"
    if column.missing != "mean":
        for i in np.flatnonzero(missing).tolist():
            wrong[i] = f"missing value: column {column.name!r} is empty"
    return (places[:, None] == np.arange(len(column.categories))).astype(np.float32), wrong


def _holds_lists(values: pa.ChunkedArray) -> bool:
    if pa.types.is_nested(values.type):
        return True
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return False
    first = next((one for one in values.drop_null().slice(0, 50).to_pylist() if one.strip()), "")
    return first.lstrip().startswith("[")  # a column of mixed types, a CSV file's cell


def _lists(values: pa.ChunkedArray, name: str, reasons: list[str | None]) -> pa.Array:
    import json

    rows: list[list[float]] = []
    for i, value in enumerate(values.to_pylist()):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                reasons[i] = f"no number: column {name!r} holds {value!r:.60}, which is text"
                value = []
        cells = [value] if not isinstance(value, list) else value
        numbers = [_float(one) for one in cells]
        for one, number in zip(cells, numbers, strict=True):
            if number != number and isinstance(one, str) and one.strip().lower() not in MISSING_WORDS:
                reasons[i] = reasons[i] or f"no number: column {name!r} holds {one!r:.60}, which is text"
        rows.append(numbers)
    return pa.array(rows, pa.list_(pa.float32()))


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return float("inf")
    except (TypeError, ValueError):
        return float("nan")
