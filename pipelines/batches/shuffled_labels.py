"""Labels dealt anew among training rows: a control that leaves everything as it is but what a task's labels say."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np

from mtlcore import is_annotated
from pipelines.blocks.reader import Batch, BlockReader


class ShuffledReader(BlockReader):
    """A dataset's rows, of which some tasks' labels are permuted among the rows that are annotated for the task.

    Which rows are annotated, how often each label occurs, and how labels of one task go together all stay. The same
    (seed, dataset, task) gives the same permutation.

    Args:
        reader: the rows.
        tasks: whose labels are permuted.
        seed: of the run.
        name: of the dataset.
    """

    def __init__(self, reader: BlockReader, tasks: Sequence[str], seed: int, name: str) -> None:
        self.__dict__.update(reader.__dict__)
        self._reader, self._shuffled = reader, tuple(tasks)
        self._place_of = cache(
            lambda task: _permuted(reader.labels(task), (seed % 2**63, zlib.crc32(f"{name}/{task}".encode())))
        )

    def gather(self, rows: np.ndarray, out: np.ndarray | None = None) -> Batch:
        """Return some rows, as :meth:`BlockReader.gather` does."""
        batch = self._reader.gather(rows, out)
        return Batch(batch.inputs, self._dealt(batch.labels, rows))

    def gather_labels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the labels of some rows by task."""
        return self._dealt(self._reader.gather_labels(rows), rows)

    def gather_shares(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return what annotators say of some rows; of the tasks that are permuted nothing: their labels count alone."""
        return {task: of for task, of in self._reader.gather_shares(rows).items() if task not in self._shuffled}

    def label_parts(self, tasks: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """Yield the labels of some tasks part by part."""
        start = 0
        for part in self._reader.label_parts(tasks):
            rows = np.arange(start, start + len(next(iter(part.values()), ())))
            start += len(rows)
            yield self._dealt(part, rows)

    def _dealt(self, labels: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
        changed = {task: self._place_of(task)[rows] for task in self._shuffled if task in labels}
        return {**labels, **changed}


def shuffled(readers: Mapping[str, BlockReader], tasks: Sequence[str], seed: int) -> Mapping[str, BlockReader]:
    """Return readers of some datasets with the labels of some tasks permuted; the same readers where there is none.

    Args:
        readers: by dataset.
        tasks: whose labels are permuted.
        seed: of the run.
    """
    return {name: ShuffledReader(reader, tasks, seed, name) for name, reader in readers.items()} if tasks else readers


def _permuted(labels: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Return labels permuted among the rows that are annotated at all."""
    annotated = np.flatnonzero(is_annotated(labels).reshape(len(labels), -1).any(axis=1))
    dealt = labels.copy()
    dealt[annotated] = labels[np.random.Generator(np.random.PCG64(key)).permutation(annotated)]
    return dealt
