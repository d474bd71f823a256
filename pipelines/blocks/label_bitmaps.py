"""Labels of selected rows, read from the buffers of memory-mapped Arrow columns without copying them whole.

A column of classes is int32 values and a bitmap of which are valid. One of truths is a bitmap of L bits per row,
another of which of these bits are valid, and a third of which rows are. One of numbers is K float32 values per row, NaN
where one is missing, and a bitmap of which rows are valid. A bitmap that Arrow leaves out says that all are. See "Arrow
Columnar Format", arrow.apache.org/docs/format/Columnar.html.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mtlcore import MISSING, Task


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """A task's labels in one block, or None in the place of a bitmap that is not there.

    Attributes:
        values: int32 (rows,), float32 (rows, K), or the bitmap of L bits per row as uint8.
        entries_valid: a bitmap of as many bits as there are values.
        rows_valid: a bitmap of the rows; only where a row is a list.
    """

    values: np.ndarray
    entries_valid: np.ndarray | None
    rows_valid: np.ndarray | None


def label_column(column: pa.Array, task: Task) -> LabelColumn | None:
    """Return views of a block's column, or None where no row is annotated."""
    if column.null_count == len(column):
        return None
    assert column.offset == 0  # a block is written whole
    bitmaps = [None if buffer is None else np.frombuffer(buffer, np.uint8) for buffer in column.buffers()[:-1]]
    values = np.frombuffer(column.buffers()[-1], np.uint8)
    if task.encoding == "class":
        return LabelColumn(values.view(np.int32), bitmaps[0], None)
    assert column.values.offset == 0
    if task.encoding == "numbers":
        entries = values[: len(column) * len(task.outputs) * 4].view(np.float32)
        return LabelColumn(entries.reshape(len(column), len(task.outputs)), None, bitmaps[0])
    return LabelColumn(values, bitmaps[1], bitmaps[0])


def gather_labels(
    columns: Sequence[LabelColumn | None], task: Task, groups: Sequence[tuple[int, int, int]], rows: np.ndarray
) -> np.ndarray:
    """Return the labels of rows of several blocks; -1 or NaN where not annotated.

    Args:
        columns: of the task, by block.
        task: whose labels they are.
        groups: block, start and end of consecutive ``rows`` that lie in one block.
        rows: integer, shape (n,), numbered within their block.

    Returns:
        int64 (n,), int8 (n, L) or float32 (n, K).
    """
    if task.encoding == "class":
        return _classes(columns, groups, rows)
    gather = _numbers if task.encoding == "numbers" else _truths
    return gather(columns, groups, rows, len(task.outputs))


def _numbers(
    columns: Sequence[LabelColumn | None], groups: Sequence[tuple[int, int, int]], rows: np.ndarray, width: int
) -> np.ndarray:
    numbers = np.full((len(rows), width), np.nan, dtype=np.float32)
    byte, rows_valid = rows >> 3, np.zeros(len(rows), dtype=np.uint8)
    for block, start, end in groups:
        if (column := columns[block]) is not None:
            numbers[start:end] = column.values[rows[start:end]]
            _taken(column.rows_valid, byte[start:end], rows_valid[start:end])
    numbers[~_bit(rows_valid, rows)] = np.nan
    return numbers


def _classes(
    columns: Sequence[LabelColumn | None], groups: Sequence[tuple[int, int, int]], rows: np.ndarray
) -> np.ndarray:
    # Zeros: of a block without annotations nothing is copied, and no bit of its rows is valid.
    values, valid = np.zeros(len(rows), dtype=np.int32), np.zeros(len(rows), dtype=np.uint8)
    byte = rows >> 3
    for block, start, end in groups:
        if (column := columns[block]) is not None:
            column.values.take(rows[start:end], out=values[start:end], mode="clip")
            _taken(column.entries_valid, byte[start:end], valid[start:end])
    return np.where(_bit(valid, rows), values, np.int64(MISSING))


def _truths(
    columns: Sequence[LabelColumn | None], groups: Sequence[tuple[int, int, int]], rows: np.ndarray, width: int
) -> np.ndarray:
    first, shift = np.divmod(rows * width, 8)
    span = (width + 14) // 8  # bytes that L bits may lie in, wherever they begin
    byte_positions, byte = first[:, None] + np.arange(span), rows >> 3
    # Bytes are taken whole and unpacked at the end, for all blocks at once: a row of bits begins anywhere in a byte.
    holds, valid = np.zeros((2, len(rows), span), dtype=np.uint8)
    rows_valid = np.zeros(len(rows), dtype=np.uint8)
    for block, start, end in groups:
        if (column := columns[block]) is not None:
            column.values.take(byte_positions[start:end], out=holds[start:end], mode="clip")
            _taken(column.entries_valid, byte_positions[start:end], valid[start:end])
            _taken(column.rows_valid, byte[start:end], rows_valid[start:end])
    known = (_unpacked(valid, shift, width) == 1) & _bit(rows_valid, rows)[:, None]
    return np.where(known, _unpacked(holds, shift, width), np.int8(MISSING))


def _taken(bitmap: np.ndarray | None, indices: np.ndarray, out: np.ndarray) -> None:
    """Copy some bytes of a bitmap; one that is not there is all ones.

    The place of a byte may lie behind the last, where none of the bits that are wanted are.
    """
    if bitmap is None:
        out.fill(0xFF)
    else:
        bitmap.take(indices, out=out, mode="clip")  # unlike other modes, without a copy of ``out``


def _bit(byte: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return each row's own bit of the byte of a bitmap that it lies in, bool (n,); the lowest bit comes first."""
    return np.asarray((byte >> (rows & 7).astype(np.uint8)) & 1, dtype=bool)


def _unpacked(packed: np.ndarray, shift: np.ndarray, width: int) -> np.ndarray:
    """Return ``width`` bits of every row, from bit ``shift`` on, int8 of 0 and 1, shape (n, width)."""
    bits = np.unpackbits(packed, axis=1, bitorder="little").view(np.int8)
    return np.take_along_axis(bits, shift[:, None] + np.arange(width), axis=1)
