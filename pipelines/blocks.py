"""Arrow blocks: one fixed schema, written whole, read by random access from memory-mapped files.

Columns: ``id`` (string), ``input`` (uint8 tensor CHW, or float32 vector), one a task (int32 for multiclass, a
fixed-size list of bool for multilabel; null where not annotated), ``source`` and ``split`` (string).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from mtlcore import MISSING, Multiclass, Task
from pipelines.labels import label_type
from pipelines.write_block import input_type


def block_schema(shape: tuple[int, ...], tasks: Sequence[Task]) -> pa.Schema:
    """Return the schema of every block of a case; inputs of three dimensions are pictures, of one vectors."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("input", pa.fixed_shape_tensor(input_type(shape), shape), nullable=False),
            *(pa.field(task.name, label_type(task)) for task in tasks),
            pa.field("source", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
        ]
    )


@dataclass(frozen=True)
class Batch:
    """Rows of blocks, as arrays.

    Attributes:
        inputs: uint8 (n, C, H, W) or float32 (n, size).
        labels: by task, int64 (n,) or int8 (n, L); -1 where not annotated.
    """

    inputs: np.ndarray
    labels: dict[str, np.ndarray]


class BlockReader:
    """The blocks of a data set, rows numbered from 0 in the order of the manifest.

    Pictures stay in the memory-mapped files until they are asked for; labels, a few bytes a row, are held.

    Args:
        files: the block files on this machine, in order.
        tasks: the tasks whose labels are wanted.
        excluded: rows, numbered over all blocks, that are left out; the others close up.
    """

    def __init__(self, files: Sequence[Path], tasks: Sequence[Task], excluded: Sequence[int] = ()) -> None:
        self._inputs: list[np.ndarray] = []
        labels: dict[str, list[np.ndarray]] = {task.name: [] for task in tasks}
        self._ids: list[pa.Array] = []
        for file in files:
            block = pa.ipc.open_file(pa.memory_map(str(file))).read_all().combine_chunks()
            if not len(block):
                continue
            column = block.column("input").chunk(0)
            self._inputs.append(column.to_numpy_ndarray())
            self._ids += block.column("id").chunks
            for task in tasks:
                labels[task.name].append(label_array(block.column(task.name), task))
        self._starts = np.cumsum([0, *(len(part) for part in self._inputs)])
        kept = np.ones(int(self._starts[-1]), dtype=bool)
        kept[np.asarray(excluded, dtype=np.int64)] = False
        self._kept = np.flatnonzero(kept)
        self.labels = {
            task.name: (np.concatenate(labels[task.name]) if labels[task.name] else _no_labels(task))[self._kept]
            for task in tasks
        }

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def ids(self) -> list[str]:
        """Every row's id."""
        return pa.chunked_array(self._ids, pa.string()).take(pa.array(self._kept)).to_pylist()  # type: ignore[no-any-return]

    def gather(self, rows: np.ndarray) -> Batch:
        """Return some rows, in the order asked for.

        Args:
            rows: integer, shape (n,), each in [0, len(self)).
        """
        at = self._kept[rows]
        blocks = np.searchsorted(self._starts, at, side="right") - 1
        inputs = np.empty((len(rows), *self._inputs[0].shape[1:]), dtype=self._inputs[0].dtype)
        for i, (block, row) in enumerate(zip(blocks.tolist(), at.tolist(), strict=True)):
            inputs[i] = self._inputs[block][row - self._starts[block]]
        return Batch(inputs, {name: values[rows] for name, values in self.labels.items()})


def label_array(column: pa.ChunkedArray, task: Task) -> np.ndarray:
    """Return a column of a task's labels as int64 (n,) or int8 (n, L); -1 where not annotated."""
    values = column.combine_chunks()
    if isinstance(task, Multiclass):
        return np.asarray(values.fill_null(MISSING).to_numpy(zero_copy_only=False), dtype=np.int64)
    width = len(task.outputs)
    flat = values.values.slice(values.offset * width, len(values) * width)  # flatten() would leave null lists out
    wide = np.asarray(flat.cast(pa.int8()).fill_null(MISSING).to_numpy(zero_copy_only=False), dtype=np.int8)
    wide = wide.reshape(len(values), width)
    if not values.null_count:
        return wide
    # A null list hides values of its own; each of its elements is missing too.
    return np.where(values.is_null().to_numpy(zero_copy_only=False)[:, None], np.int8(MISSING), wide)


def _no_labels(task: Task) -> np.ndarray:
    if isinstance(task, Multiclass):
        return np.empty(0, dtype=np.int64)
    return np.empty((0, len(task.outputs)), dtype=np.int8)
