"""Plan a dataset's ingest before any input is read: list rows, align labels, quarantine, cut chunks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtlcore import Task
from pipelines.base.errors import UserError
from pipelines.base.storage import join
from pipelines.blocks.schema import label_type
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.case import Case
from pipelines.case.data import DataSet, MultilabelTask
from pipelines.ingest.chunks import Chunk, chunk_bounds, digest, rows_per_chunk
from pipelines.ingest.labels import Aligned, align, nothing_annotated, through
from pipelines.sources.list_source import list_source
from pipelines.sources.listing import Listing


@dataclass(frozen=True)
class ListedDataSet:
    """The rows of a dataset.

    Attributes:
        name: the dataset's.
        rows: the rows whose inputs are to be read, sorted by id: schema ``ROWS``, and one column per labelled task.
        fields: the source's own columns of the same rows.
        refused: rows that cannot be used, whatever their inputs hold: ``id``, ``source``, ``reason``, ``row`` (the
            original row as JSON).
        rows_per_chunk: the most rows of a chunk.
    """

    name: str
    rows: pa.Table
    fields: pa.Table
    refused: pa.Table
    rows_per_chunk: int

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The chunks, in order."""
        bounds = chunk_bounds(self.rows["id"], self.rows_per_chunk)
        return [Chunk(digest(self.rows.slice(start, end - start)), start, end - start) for start, end in bounds]


QUARANTINED = pa.schema([("id", pa.string()), ("source", pa.string()), ("reason", pa.string()), ("row", pa.string())])


def original_rows(fields: pa.Table, rows: pa.Table, indices: np.ndarray) -> list[str]:
    """Return some rows as their source has them, as JSON: its columns and, where it holds the input, the vector.

    Args:
        fields: the source's own columns.
        rows: schema ``ROWS``, as many rows.
        indices: which rows.
    """
    taken = pa.array(indices, pa.int64())
    originals = fields.take(taken).to_pylist()
    for row, vector in zip(originals, rows["vector"].take(taken).to_pylist(), strict=True):
        if vector is not None:
            row["vector"] = vector
    return [
        json.dumps({k: v for k, v in row.items() if v is not None}, default=str, sort_keys=True, ensure_ascii=False)
        for row in originals
    ]


def list_data_set(case: Case, name: str) -> ListedDataSet:
    """List a dataset's rows.

    Raises:
        UserError: its source cannot be read, is empty, lacks a column, or, if the case says so, has a label outside
            the vocabulary.
    """
    data_set, root = case.datasets[name], str(case.data_root)
    try:
        listing = list_source(
            root, data_set.source, quarantine_broken_archives=case.ingest.broken_archives == "quarantine"
        )
    except UserError as error:
        raise UserError(f"datasets.{name}: {error}") from None
    listing = listing.take(pc.sort_indices(listing.rows["id"]))
    if data_set.select is not None:
        listing = _selected(name, data_set, listing)
    if not len(listing):
        raise UserError(f"datasets.{name}: found no input in {', '.join(data_set.source.path)}; at least one is needed")

    tasks, place = tasks_of(case), join(root, listing.rows["source"][0].as_py())
    usable = pc.is_null(listing.rows["refused"])
    aligned = {
        task: _aligned(case, data_set, task, tasks, listing.fields, place)
        if pc.any(usable).as_py()
        else nothing_annotated(tasks[task], len(listing))  # there may not even be columns
        for task in data_set.labels
    }
    wrong = pa.nulls(len(listing), pa.string())
    for of_task in aligned.values():
        wrong = pc.coalesce(wrong, of_task.wrong)
    wrong = pc.if_else(usable, wrong, None)
    if case.ingest.unknown_labels == "fail":
        _fail_for_a_label(root, listing, wrong)
    reasons = pc.coalesce(listing.rows["refused"], pc.binary_join_element_wise("wrong label", wrong, ": "))
    with_labels = listing.rows
    for task, of_task in aligned.items():
        with_labels = with_labels.append_column(pa.field(task, label_type(tasks[task])), of_task.labels)
    reasons = _without_duplicates(with_labels, reasons)

    kept = pc.is_null(reasons)
    shape = case.input.shape
    most = rows_per_chunk(int(np.prod(shape)) * (4 if len(shape) == 1 else 1))
    rows = with_labels.filter(kept).combine_chunks()
    return ListedDataSet(name, rows, listing.fields.filter(kept), _refused(listing, reasons), most)


def _refused(listing: Listing, reasons: pa.ChunkedArray) -> pa.Table:
    indices = np.flatnonzero(pc.is_valid(reasons).to_numpy(zero_copy_only=False))
    taken = pa.array(indices, pa.int64())
    columns = [listing.rows["id"].take(taken), listing.rows["source"].take(taken), reasons.take(taken)]
    originals = original_rows(listing.fields, listing.rows, indices)
    return pa.table([*columns, pa.array(originals, pa.string())], schema=QUARANTINED)


def _selected(name: str, data_set: DataSet, listing: Listing) -> Listing:
    """Take a part of the rows, the same whatever else they are selected for; sorted by id again."""
    select = data_set.select
    assert select is not None
    if select.start + select.rows > len(listing):
        raise UserError(
            f"datasets.{name}.select: found rows {select.start} to {select.start + select.rows}; "
            f"the source has {len(listing)}"
        )
    order = np.random.Generator(np.random.PCG64(select.shuffle_seed)).permutation(len(listing))
    return listing.take(pa.array(np.sort(order[select.start : select.start + select.rows]), pa.int64()))


def _aligned(case: Case, data_set: DataSet, task: str, tasks: dict[str, Task], fields: pa.Table, place: str) -> Aligned:
    rule = data_set.labels[task]
    found_in = rule.through or task
    aligned = align(rule, tasks[found_in], case.tasks[found_in].aliases, fields, place)
    if rule.through is None:
        return aligned
    edge = next(e for e in case.relatedness if (e.source, e.target) == (rule.through, task))
    table = relatedness_of(edge, tasks).table
    rows: list[Any] = table.argmax(dim=1).tolist()
    if isinstance(case.tasks[task], MultilabelTask):
        rows = table.bool().tolist()
    return through(aligned, rows, tasks[task])


def _fail_for_a_label(root: str, listing: Listing, wrong: pa.ChunkedArray) -> None:
    indices = np.flatnonzero(pc.is_valid(wrong).to_numpy(zero_copy_only=False))
    if not len(indices):
        return
    first = int(indices[0])
    reason, row = wrong[first].as_py(), listing.rows["id"][first]
    between = ", " if reason.startswith("column") else ": "
    more = f"; {len(indices) - 1:,} more rows have such labels" if len(indices) > 1 else ""
    raise UserError(
        f"{join(root, listing.rows['source'][first].as_py())}, row {row}{between}{reason}{more} "
        "(tasks.<task>.aliases declares other words; ingest.unknown_labels: quarantine sets such rows aside)"
    )


def _without_duplicates(rows: pa.Table, reasons: pa.ChunkedArray) -> pa.ChunkedArray:
    """Refuse ids that stand more than once: all but one where the rows are equal, and all of them where they differ,
    since nothing says which of them is correct."""
    ids = rows["id"].combine_chunks()
    if len(ids) < 2:
        return reasons
    same = pc.equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    if not same.any():
        return reasons
    refused: list[str | None] = reasons.to_pylist()
    for group in _groups(np.flatnonzero(same)):
        usable = [i for i in group if refused[i] is None]
        contents = {json.dumps(row, default=str) for row in rows.take(pa.array(usable, pa.int64())).to_pylist()}
        if len(usable) < 2:
            continue
        if len(contents) == 1:
            for i in usable[1:]:
                refused[i] = "duplicate id: the same row again"
        else:
            for i in usable:
                refused[i] = f"duplicate id: {len(usable)} rows that differ"
    return pa.chunked_array([pa.array(refused, pa.string())])


def _groups(same_as_next: np.ndarray) -> Iterator[list[int]]:
    """Yield the places of equal neighbours, given the places that equal the next one."""
    breaks = np.flatnonzero(np.diff(same_as_next) > 1) + 1
    for run in np.split(same_as_next, breaks):
        yield [*run.tolist(), int(run[-1]) + 1]
