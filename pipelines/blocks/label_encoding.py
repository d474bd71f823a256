"""How labels lie in Arrow columns, by their encoding (mtlcore.tasks), and as arrays.

===========  ================================  ==============================  =============================
encoding     Arrow                             not annotated                   as an array
===========  ================================  ==============================  =============================
``class``    int32                             null                            int64 (n,), -1
``labels``   fixed-size list of bool           null, also of a single entry    int8 (n, L), -1
``numbers``  fixed-size list of float32        null, or NaN a single entry     float32 (n, K), NaN
===========  ================================  ==============================  =============================
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtlcore import MISSING, Task


@dataclass(frozen=True)
class LabelEncoding:
    """An encoding.

    Attributes:
        arrow_type: of a column, given the number of outputs.
        to_array: of a column, given that number.
        to_arrow: of an array; the inverse.
    """

    arrow_type: Callable[[int], pa.DataType]
    to_array: Callable[[pa.Array, int], np.ndarray]
    to_arrow: Callable[[np.ndarray], pa.Array]


def label_type(task: Task) -> pa.DataType:
    """Return the Arrow type of a task's labels."""
    return ENCODINGS[task.encoding].arrow_type(len(task.outputs))


def shares_column(task: str) -> str:
    """Return the column that holds annotators' shares beside a task's labels; no task is called so."""
    return f"{task}.shares"


def shares_type(task: Task) -> pa.DataType:
    """Return the Arrow type of annotators' shares: a number a class or label, null where they agree."""
    return pa.list_(pa.float32(), len(task.outputs))


def label_array(column: pa.ChunkedArray, task: Task) -> np.ndarray:
    """Return a column of a task's labels as int64 (n,), int8 (n, L) or float32 (n, K); -1 or NaN: not annotated."""
    return ENCODINGS[task.encoding].to_array(column.combine_chunks(), len(task.outputs))


def arrow_labels(labels: np.ndarray, task: Task) -> pa.Array:
    """Return labels, -1 or NaN where not annotated, as blocks hold them; the inverse of :func:`label_array`."""
    return ENCODINGS[task.encoding].to_arrow(labels)


def lists_of_truths(holds: np.ndarray, annotated: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    """Return fixed-size lists of bool, null where an entry is not ``annotated`` or a row is ``missing``."""
    rows, width = holds.shape
    flat = pa.array(holds.reshape(-1), mask=~annotated.reshape(-1))
    made = pa.FixedSizeListArray.from_arrays(flat, width, mask=None if missing is None else pa.array(missing))
    assert len(made) == rows
    return made


def _classes_to_array(values: pa.Array, outputs: int) -> np.ndarray:
    return np.asarray(values.fill_null(MISSING).to_numpy(zero_copy_only=False), dtype=np.int64)


def _classes_to_arrow(labels: np.ndarray) -> pa.Array:
    return pa.array(labels.astype(np.int32), mask=labels == MISSING)


def _entries(values: pa.Array, width: int) -> pa.Array:
    return values.values.slice(values.offset * width, len(values) * width)  # flatten() would leave null lists out


def _truths_to_array(values: pa.Array, width: int) -> np.ndarray:
    flat = _entries(values, width)
    wide = np.asarray(flat.cast(pa.int8()).fill_null(MISSING).to_numpy(zero_copy_only=False), dtype=np.int8)
    wide = wide.reshape(len(values), width)
    if not values.null_count:
        return wide
    # A null list hides values of its own; each of its elements is missing too.
    return np.where(values.is_null().to_numpy(zero_copy_only=False)[:, None], np.int8(MISSING), wide)


def _truths_to_arrow(labels: np.ndarray) -> pa.Array:
    known = labels != MISSING
    return lists_of_truths(labels == 1, known, np.asarray(~known.any(axis=1)))


def _numbers_to_array(values: pa.Array, width: int) -> np.ndarray:
    flat = pc.fill_null(_entries(values, width), float("nan")).to_numpy(zero_copy_only=False)
    wide = np.asarray(flat, dtype=np.float32).reshape(len(values), width)
    is_null = values.is_null().to_numpy(zero_copy_only=False)
    return np.where(is_null[:, None], np.float32(np.nan), wide)


def _numbers_to_arrow(labels: np.ndarray) -> pa.Array:
    flat = pa.array(labels.astype(np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, labels.shape[1], mask=pa.array(np.isnan(labels).all(axis=1)))


ENCODINGS = {
    "class": LabelEncoding(lambda _: pa.int32(), _classes_to_array, _classes_to_arrow),
    "labels": LabelEncoding(lambda width: pa.list_(pa.bool_(), width), _truths_to_array, _truths_to_arrow),
    "numbers": LabelEncoding(lambda width: pa.list_(pa.float32(), width), _numbers_to_array, _numbers_to_arrow),
}
