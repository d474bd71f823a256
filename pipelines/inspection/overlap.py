"""Co-annotation counts: how many inputs are annotated for one task and for another."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from pipelines.inspection.rows import BlockRows, Rows, annotated_rows


class Overlap(BaseModel):
    """Inputs of a split by the tasks that they are annotated for.

    Attributes:
        by: what counts as one input: a decoded input, wherever it stands ("input"), or a row of a dataset ("row").
        inputs: how many there are; ``rows`` of them where each counts for itself.
        rows: how many rows the split's datasets have.
        tasks: the rows and columns of ``counts``.
        counts: inputs annotated for both tasks; on the diagonal, for the task.
    """

    model_config = ConfigDict(frozen=True)

    split: str
    by: Literal["input", "row"]
    inputs: int
    rows: int
    tasks: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


def overlap_of(split: str, tasks: Sequence[str], data_sets: Sequence[Rows]) -> Overlap:
    """Count the inputs of a split's datasets by the tasks that they are annotated for.

    Args:
        split: its name.
        tasks: of the case.
        data_sets: all of them from blocks, where inputs are told apart by their digests, or all of them listed.
    """
    which, n = _inputs(data_sets)
    annotated = np.zeros((n, len(tasks)), dtype=bool)
    start = 0
    for rows in data_sets:
        of_rows = which[start : start + len(rows)]
        start += len(rows)
        for task, labels in rows.labels.items():
            annotated[of_rows[annotated_rows(labels)], list(tasks).index(task)] = True
    floats = annotated.astype(np.float64)  # exact up to 2^53, and many times faster than integers
    counts = (floats.T @ floats).astype(np.int64).tolist()
    by: Literal["input", "row"] = "input" if _have_digests(data_sets) else "row"
    return Overlap(split=split, by=by, inputs=n, rows=len(which), tasks=tuple(tasks), counts=counts)


def _inputs(data_sets: Sequence[Rows]) -> tuple[np.ndarray, int]:
    """Number the inputs; return every row's, dataset by dataset, and how many there are."""
    if not _have_digests(data_sets):
        n = sum(len(rows) for rows in data_sets)
        return np.arange(n), n
    chunks = [rows.digests() for rows in data_sets if isinstance(rows, BlockRows)]
    encoded = pc.dictionary_encode(pa.concat_arrays(chunks))
    return encoded.indices.to_numpy(zero_copy_only=False), len(encoded.dictionary)


def _have_digests(data_sets: Sequence[Rows]) -> bool:
    return bool(data_sets) and all(isinstance(rows, BlockRows) for rows in data_sets)
