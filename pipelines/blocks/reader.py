"""Random access to the rows of Arrow blocks in memory-mapped files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from errno import ENOMEM
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from mtlcore import Regression, Task
from pipelines.base.errors import UserError
from pipelines.blocks.cache import BlockFiles
from pipelines.blocks.label_bitmaps import LabelColumn, gather_labels, label_column
from pipelines.blocks.label_encoding import shares_column

_ROWS_OF_A_PART = 1 << 16


@dataclass(frozen=True)
class Batch:
    """Rows of blocks, as arrays.

    Attributes:
        inputs: uint8 (n, C, H, W) or float32 (n, size).
        labels: by task, int64 (n,), int8 (n, L) or float32 (n, K); -1 or NaN where not annotated.
    """

    inputs: np.ndarray
    labels: dict[str, np.ndarray]


class BlockReader:
    """The blocks of a dataset, rows numbered from 0 in the order of the manifest.

    Everything stays in the memory-mapped files until it is asked for; what is held is a few views a block, of up to
    2,048 rows.

    Args:
        blocks: the block files on this machine, in order.
        tasks: the tasks whose labels are wanted.
        excluded: rows, numbered over all blocks, that are left out; the others close up.
    """

    def __init__(self, blocks: BlockFiles, tasks: Sequence[Task], excluded: Sequence[int] = ()) -> None:
        self._blocks = blocks  # the cache keeps its files for as long as this is held
        self._tasks = tuple(tasks)
        self._inputs: list[np.ndarray] = []
        self._ids: list[pa.Array] = []
        self._labels: dict[str, list[LabelColumn | None]] = {task.name: [] for task in tasks}
        self._shares: dict[str, list[LabelColumn | None]] = {}
        for file in blocks.files:
            opened = pa.ipc.open_file(_mapped(file, len(blocks.files)))
            assert opened.num_record_batches <= 1  # a row of several would have to be looked for first
            if not opened.num_record_batches or not (block := opened.get_batch(0)).num_rows:
                continue
            self._inputs.append(block.column("input").to_numpy_ndarray())
            self._ids.append(block.column("id"))
            for task in tasks:
                self._labels[task.name].append(label_column(block.column(task.name), task))
                if shares_column(task.name) in block.schema.names:
                    column = label_column(block.column(shares_column(task.name)), _as_numbers(task))
                    self._shares.setdefault(task.name, []).append(column)
        self._starts = np.cumsum([0, *(len(part) for part in self._inputs)])
        left_out = np.unique(np.asarray(excluded, dtype=np.int64))
        self._shifts_at = left_out - np.arange(len(left_out))  # from which row on one more lies before it
        self._rows = int(self._starts[-1]) - len(left_out)

    def __len__(self) -> int:
        return self._rows

    @property
    def ids(self) -> list[str]:
        """Every row's id."""
        return pa.chunked_array(self._ids, pa.string()).take(pa.array(self._stored(np.arange(len(self))))).to_pylist()  # type: ignore[no-any-return]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of an input: (C, H, W) or (size,)."""
        return self._inputs[0].shape[1:]

    @property
    def input_dtype(self) -> np.dtype:
        """The type of an input's numbers: uint8 of an image, float32 of a vector."""
        return self._inputs[0].dtype

    def gather(self, rows: np.ndarray, out: np.ndarray | None = None) -> Batch:
        """Return some rows, in the order asked for.

        Args:
            rows: integer, shape (n,), each in [0, len(self)).
            out: uint8 (n, C, H, W) or float32 (n, size), where the inputs are copied to; a new array by default.
        """
        inputs = np.empty((len(rows), *self.input_shape), dtype=self.input_dtype) if out is None else out
        blocks, places = self._places(rows)
        # One copy a row: as fast as NumPy's own gather from one array, whatever lies in how many blocks.
        for i, (block, place) in enumerate(zip(blocks.tolist(), places.tolist(), strict=True)):
            inputs[i] = self._inputs[block][place]
        return Batch(inputs, self._labels_at(blocks, places, self._tasks))

    def gather_labels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the labels of some rows by task, as :class:`Batch` has them."""
        return self._labels_at(*self._places(rows), self._tasks)

    def gather_shares(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the shares of some rows' annotators, of the tasks that have any: float32 (n, outputs).

        NaN where annotators agree, or say nothing.
        """
        if not self._shares:
            return {}
        tasks = [_as_numbers(task) for task in self._tasks if task.name in self._shares]
        return self._columns_at(*self._places(rows), tasks, self._shares)

    def labels(self, task: str) -> np.ndarray:
        """Return a task's labels of every row, as :class:`Batch` has them."""
        return np.concatenate([labels[task] for labels in self.label_parts([task])])

    def label_parts(self, tasks: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """Yield the labels of some tasks part by part, as :meth:`labels` returns the whole: what does not fit memory.

        There is at least one part; a dataset without rows has an empty one.
        """
        selected = [task for task in self._tasks if task.name in tasks]
        for start in range(0, max(1, len(self)), _ROWS_OF_A_PART):
            rows = np.arange(start, min(start + _ROWS_OF_A_PART, len(self)))
            yield self._labels_at(*self._places(rows), selected)

    def _stored(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers that rows have when those that are left out are counted too."""
        return rows + np.searchsorted(self._shifts_at, rows, side="right") if len(self._shifts_at) else rows

    def _places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return every row's block, and its number within it."""
        stored = self._stored(rows)
        blocks = np.searchsorted(self._starts, stored, side="right") - 1
        return blocks, stored - self._starts[blocks]

    def _labels_at(self, blocks: np.ndarray, places: np.ndarray, tasks: Sequence[Task]) -> dict[str, np.ndarray]:
        return self._columns_at(blocks, places, tasks, self._labels)

    def _columns_at(
        self,
        blocks: np.ndarray,
        places: np.ndarray,
        tasks: Sequence[Task],
        columns: Mapping[str, Sequence[LabelColumn | None]],
    ) -> dict[str, np.ndarray]:
        # Block by block: bitmaps are read in one call a block, however its rows are spread over the batch.
        order = np.argsort(blocks, kind="stable")
        of_block = blocks[order]
        cuts = np.flatnonzero(np.diff(of_block)) + 1
        bounds = [0, *cuts.tolist(), len(order)] if len(order) else [0]
        groups = [(int(of_block[start]), start, end) for start, end in pairwise(bounds)]
        labels = {}
        for task in tasks:
            grouped = gather_labels(columns[task.name], task, groups, places[order])
            labels[task.name] = np.empty_like(grouped)
            labels[task.name][order] = grouped
        return labels


def _as_numbers(task: Task) -> Task:
    """Return a task's stand-in whose labels are numbers, one an output: shares lie in blocks as these do."""
    return Regression(task.name, task.outputs)


def _mapped(file: Path, blocks: int) -> pa.MemoryMappedFile:
    try:
        return pa.memory_map(str(file))
    except OSError as error:
        if os.strerror(ENOMEM) not in str(error):  # pyarrow keeps no number of it
            raise
        raise UserError(
            f"{file.parent}: {blocks:,} blocks are more files than this process may map into memory; expected a Linux "
            f"that allows it: sysctl --write vm.max_map_count={max(262_144, 4 * blocks)}, on every node"
        ) from None
