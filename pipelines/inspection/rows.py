"""The rows of a dataset for inspection, from its source or from its blocks.

Neither needs a Ray. Labels are read at once; inputs stay where they are until some are asked for.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa

from mtlcore import is_annotated
from pipelines.base.errors import UserError
from pipelines.base.storage import StorageUnavailableError
from pipelines.blocks.cache import local_blocks
from pipelines.blocks.label_encoding import label_array
from pipelines.blocks.manifest import Manifest
from pipelines.blocks.reader import BlockReader
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.ingest.boxes import box_list, input_of_data_set
from pipelines.ingest.decode import decode_input
from pipelines.ingest.finish import count_labels
from pipelines.ingest.leakage import input_digests
from pipelines.ingest.list_rows import ListedDataSet, list_data_set
from pipelines.ingest.make_block import read_inputs


class ListedRows:
    """The usable rows of a source, before any input is read.

    A label outside the vocabulary sets its row apart here even where it would stop the ingest: who looks wants to see
    how many there are.

    Attributes:
        listed: the dataset as listed.
        labels: by task, int64 (n,) or int8 (n, L); -1 where not annotated. Tasks without labels have no entry.
        counts: of the labels, by task.
    """

    def __init__(self, case: Case, name: str) -> None:
        lenient = case.ingest.model_copy(update={"unknown_labels": "quarantine"})
        self.listed: ListedDataSet = list_data_set(case.model_copy(update={"ingest": lenient}), name)
        self._data_set = case.datasets[name]
        self._declared = input_of_data_set(case.input, self._data_set)
        tasks = tasks_of(case)
        self.labels = {task: label_array(self.listed.rows[task], tasks[task]) for task in self._data_set.labels}
        self.counts = {task: count_labels(self.listed.rows[task], tasks[task]) for task in self._data_set.labels}

    def __len__(self) -> int:
        return int(self.listed.rows.num_rows)

    @cached_property
    def ids(self) -> list[str]:
        """By row."""
        ids: list[str] = self.listed.rows["id"].to_pylist()
        return ids

    def inputs(self, rows: np.ndarray) -> Iterator[np.ndarray | Exception]:
        """Yield some rows' inputs, read and decoded as the ingest would; for one that cannot be read, why.

        Args:
            rows: integer, shape (n,), ascending.
        """
        taken = self.listed.rows.take(pa.array(rows, pa.int64()))
        for raw, box in zip(read_inputs(taken, self._data_set), box_list(taken), strict=True):
            try:
                yield raw if isinstance(raw, Exception) else decode_input(raw, self._declared, box)[0]
            except Exception as error:  # whatever a broken image raises, as in the ingest
                if isinstance(error, StorageUnavailableError):
                    raise
                yield error


class BlockRows:
    """The rows of a dataset's blocks that take part in the case.

    Attributes:
        folder: where the blocks lie.
        manifest: of the blocks.
        labels, counts: as for :class:`ListedRows`.
    """

    def __init__(self, case: Case, name: str, folder: str, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        tasks = tasks_of(case)
        try:
            blocks = local_blocks(folder, manifest, check=False)
            self._reader = BlockReader(blocks, [tasks[task] for task in manifest.labels], manifest.excluded)
        except FileNotFoundError as error:
            raise UserError(
                f"datasets.{name}: the ingest has written a block that is gone ({error.filename or error}); "
                f"with {folder} deleted, `kindred ingest` makes its blocks again"
            ) from None
        self.labels = {task: self._reader.labels(task) for task in manifest.labels}
        self.counts = manifest.labels

    def __len__(self) -> int:
        return len(self._reader)

    @cached_property
    def ids(self) -> list[str]:
        """By row."""
        return self._reader.ids

    def inputs(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield some rows' inputs.

        Args:
            rows: integer, shape (n,).
        """
        yield from self._reader.gather(rows).inputs

    def digests(self) -> pa.Array:
        """Return a digest of every row's input, 16 bytes each: equal where inputs are."""
        kept = np.ones(self.manifest.rows, dtype=bool)
        kept[np.asarray(self.manifest.excluded, dtype=np.int64)] = False
        return input_digests(self.folder, self.manifest).combine_chunks().filter(pa.array(kept))


Rows = ListedRows | BlockRows


def annotated_rows(labels: np.ndarray) -> np.ndarray:
    """Return which rows are annotated for a task at all, bool (n,), from its labels: (n,) or (n, L)."""
    known = is_annotated(labels)
    return np.asarray(known if labels.ndim == 1 else known.any(axis=1))
