"""Labels of some rows, read from the buffers of memory-mapped Arrow columns: nothing is held but views of them.

A column of a multiclass task is int32 values and a bitmap of which are valid. One of a multilabel task is a bitmap of
L bits a row, another of which of these bits are valid, and a third of which rows are. A bitmap that Arrow leaves out
says that all are. See "Arrow Columnar Format", arrow.apache.org/docs/format/Columnar.html.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mtlcore import MISSING, Multiclass, Task


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """A task's labels in one block, or None in the place of a bitmap that is not there.

    Attributes:
        values: int32 (rows,), or the bitmap of L bits a row as uint8.
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
    if isinstance(task, Multiclass):
        return LabelColumn(values.view(np.int32), bitmaps[0], None)
    assert column.values.offset == 0
    return LabelColumn(values, bitmaps[1], bitmaps[0])


def gather_labels(
    columns: Sequence[LabelColumn | None], task: Task, groups: Sequence[tuple[int, int, int]], rows: np.ndarray
) -> np.ndarray:
    """Return the labels of rows of several blocks; -1 where not annotated.

    Args:
        columns: of the task, by block.
        task: whose labels they are.
        groups: block, start and end of consecutive ``rows`` that lie in one block.
        rows: integer, shape (n,), numbered within their block.

    Returns:
        int64 (n,) or int8 (n, L).
    """
    if isinstance(task, Multiclass):
        return _classes(columns, groups, rows)
    return _truths(columns, groups, rows, len(task.outputs))


def _classes(
    columns: Sequence[LabelColumn | None], groups: Sequence[tuple[int, int, int]], rows: np.ndarray
) -> np.ndarray:
    found = np.full(len(rows), MISSING, dtype=np.int64)
    for block, start, end in groups:
        column = columns[block]
        if column is None:
            continue
        here = rows[start:end]
        found[start:end] = column.values[here]
        if column.entries_valid is not None:
            found[start:end][~_bits(column.entries_valid, here)] = MISSING
    return found


def _truths(
    columns: Sequence[LabelColumn | None], groups: Sequence[tuple[int, int, int]], rows: np.ndarray, width: int
) -> np.ndarray:
    first, shift = np.divmod(rows * width, 8)
    span = (width + 14) // 8  # bytes that L bits may lie in, wherever they begin
    at = first[:, None] + np.arange(span)
    holds = np.zeros((len(rows), span), dtype=np.uint8)
    known = np.zeros((len(rows), span), dtype=np.uint8)
    for block, start, end in groups:
        column = columns[block]
        if column is None:
            continue
        # the bytes behind the last of a bitmap hold none of the L bits
        column.values.take(at[start:end], out=holds[start:end], mode="clip")
        if column.entries_valid is None:
            known[start:end] = 0xFF
        else:
            column.entries_valid.take(at[start:end], out=known[start:end], mode="clip")
        if column.rows_valid is not None:
            known[start:end][~_bits(column.rows_valid, rows[start:end])] = 0
    return np.where(_unpacked(known, shift, width), _unpacked(holds, shift, width), MISSING).astype(np.int8, copy=False)


def _bits(bitmap: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return some bits of a bitmap, bool (n,); the lowest bit of a byte comes first."""
    return np.asarray((bitmap[at >> 3] >> (at & 7).astype(np.uint8)) & 1, dtype=bool)


def _unpacked(packed: np.ndarray, shift: np.ndarray, width: int) -> np.ndarray:
    """Return ``width`` bits of every row, from bit ``shift`` on, int8 (n, width)."""
    bits = np.unpackbits(packed, axis=1, bitorder="little").view(np.int8)
    return np.take_along_axis(bits, shift[:, None] + np.arange(width), axis=1)
