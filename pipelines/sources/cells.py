"""The cells of a source's columns: their text, each different one looked at once, and labels read from them."""

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LONGEST_LIST = 10_000  # characters
_WHOLE = re.compile(r"^(-?\d+)\.0+$")


@dataclass(frozen=True)
class Aligned:
    """The labels of some rows.

    Attributes:
        labels: as blocks hold them, see label_encoding.py; null, or NaN among numbers, where not annotated.
        wrong: string, what is wrong with a row's label; null where nothing is.
        undecided: string, why the words of a row, each of them right, make no label together; null where they do.
        shares: where annotators differ, how many of those who say anything say each class or label, as float32 lists;
            null where they agree. None where nobody asks for it.
    """

    labels: pa.Array
    wrong: pa.Array
    undecided: pa.Array
    shares: pa.Array | None = None

    def take(self, rows: pa.Array) -> "Aligned":
        """Return some rows' labels, in the order asked for."""
        shares = None if self.shares is None else self.shares.take(rows)
        return Aligned(self.labels.take(rows), self.wrong.take(rows), self.undecided.take(rows), shares)


def text_of(value: Any) -> str | None:
    """Return a cell's text, trimmed; None for an empty one, a null, or a float's NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def distinct_cells(cells: Any) -> tuple[np.ndarray, list[str | None]]:
    """Return which of the different cells a row has (-1: null), and the text of each (None: empty)."""
    values = plain_text(cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells)
    encoded = values.dictionary_encode()
    which = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return which, [text_of(value) for value in encoded.dictionary.to_pylist()]


def meanings(cells: Any, mean: Callable[[str], Any]) -> tuple[np.ndarray, list[Any]]:
    """Look at every different cell once: which one a row has (-1: empty), and what each means."""
    which, texts = distinct_cells(cells)
    return which, [None if text is None else mean(text) for text in texts]


def whole_number(text: str) -> str:
    """Write a whole number without its point: pandas makes 1.0 of a column of ones with a gap."""
    return _WHOLE.sub(r"\1", text)


class Wrong(str):
    """Why a cell means nothing."""


def taken_labels(means: Sequence[Any], which: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return what the cell of every row means; null where it is empty, or means nothing."""
    plain = pa.array([None if isinstance(one, Wrong) else one for one in means], kind)
    return plain.take(pa.array(which, mask=which < 0)) if len(plain) else pa.nulls(len(which), kind)


def wrong_of(means: Sequence[Any], which: np.ndarray) -> pa.Array:
    """Return why the cell of every row means nothing; null where it means something, or is empty."""
    reasons = pa.array([str(one) if isinstance(one, Wrong) else None for one in means], pa.string())
    return reasons.take(pa.array(which, mask=which < 0)) if len(reasons) else pa.nulls(len(which), pa.string())


def plain_text(values: pa.Array) -> pa.Array:
    """Return text as text, however a table keeps it: categories, large strings, bytes of UTF-8."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type) or _is_bytes(values.type):
        values = values.cast(pa.string())
    return values


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def column_of_output(output: str, aliases: Mapping[str, str], fields: pa.Table) -> str:
    """Return the name of an output's column: its own, or the first of its aliases that is there."""
    others = [alias for alias, name in aliases.items() if name == output]
    return next((called for called in (output, *others) if called in fields.column_names), output)


def listed_words(text: str) -> list[str] | None:
    """Read a list as pandas or a JSON writer puts it into a cell, ['a', 'b']; None where it is none of words."""
    if not text.startswith("[") or not text.endswith("]") or len(text) > _LONGEST_LIST:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return None
    return [one.strip() for one in found]
