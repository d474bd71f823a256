"""Plan a dataset's ingest before any input is read: list rows, align labels, quarantine, cut chunks."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtlcore import MISSING, Task
from pipelines.base.errors import UserError, one_line
from pipelines.base.storage import StorageUnavailableError, join
from pipelines.blocks.label_encoding import arrow_labels, label_array, label_type, shares_column, shares_type
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.case import Case
from pipelines.case.data import DataSet, MultilabelTask, Select
from pipelines.case.split import Part
from pipelines.ingest.boxes import BOX, input_of_data_set, with_boxes
from pipelines.ingest.chunks import Chunk, chunk_bounds, digest, rows_per_chunk
from pipelines.ingest.divide import part_of_rows
from pipelines.ingest.labels import (
    align,
    has_value,
    majority,
    nothing_annotated,
    through,
)
from pipelines.ingest.model_labels import align_predictions, asks_for_all, predictions_file
from pipelines.ingest.number_labels import mean_of
from pipelines.sources.cells import Aligned, distinct_cells, whole_number
from pipelines.sources.label_names import read_names
from pipelines.sources.list_source import list_source
from pipelines.sources.listing import Listing, column
from pipelines.sources.places import NothingThereError, find_places


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
        notes: of the listing.
        vector_columns: of vectors from tables, the names of the columns that hold the numbers.
    """

    name: str
    rows: pa.Table
    fields: pa.Table
    refused: pa.Table
    rows_per_chunk: int
    notes: Mapping[str, int]
    vector_columns: tuple[str, ...] = ()

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
    try:
        return _list_data_set(case, name)
    except (UserError, StorageUnavailableError, MemoryError):
        raise
    except Exception as error:  # what nobody has thought of is told with its place too; --verbose shows where it arose
        raise UserError(f"datasets.{name}: its rows cannot be listed: {one_line(error)}") from error


def _list_data_set(case: Case, name: str) -> ListedDataSet:
    data_set, root = case.datasets[name], str(case.data_root)
    listing = selected_rows(case, name)
    tasks, place = tasks_of(case), join(root, listing.rows["source"][0].as_py())
    usable = pc.is_null(listing.rows["refused"])
    aligned = {
        task: _aligned(case, name, task, tasks, listing, place)
        if pc.any(usable).as_py()
        else nothing_annotated(tasks[task], len(listing))  # there may not even be columns
        for task in data_set.labels
    }
    if data_set.part is not None:
        of_tasks = {task: of_task.labels for task, of_task in aligned.items()}
        kept_rows = _rows_of_part(name, data_set.part, tasks, listing, of_tasks)
        listing = listing.take(kept_rows)
        aligned = {task: of_task.take(kept_rows) for task, of_task in aligned.items()}
        usable = usable.take(kept_rows)
        if not len(listing):
            raise UserError(
                f"datasets.{name}: its part of the split has no row; expected larger fractions or more groups"
            )
    # One reason a row, the first: whoever mends it sees the next at the next ingest.
    wrong = pa.nulls(len(listing), pa.string())
    for of_task in aligned.values():
        wrong = pc.coalesce(wrong, of_task.wrong)
    wrong = pc.if_else(usable, wrong, None)
    if case.ingest.unknown_labels == "fail":
        _fail_for_a_label(root, listing, wrong)
    reasons = pc.coalesce(listing.rows["refused"], pc.binary_join_element_wise("wrong label", wrong, ": "))
    for of_task in aligned.values():
        reasons = pc.coalesce(reasons, of_task.undecided)
    labels = {task: of_task.labels for task, of_task in aligned.items()}
    if any(rule.long for rule in data_set.labels.values()):
        listing, labels, reasons = _one_row_an_image(listing, data_set, tasks, labels, reasons)
    with_labels = listing.rows
    for task, of_rows in labels.items():
        with_labels = with_labels.append_column(pa.field(task, label_type(tasks[task])), of_rows)
    for task, of_task in aligned.items():
        if of_task.shares is not None:
            name_of_shares = pa.field(shares_column(task), shares_type(tasks[task]))
            with_labels = with_labels.append_column(name_of_shares, of_task.shares)
    reasons = _without_duplicates(with_labels, reasons)

    kept, all_kept = pc.is_null(reasons), not pc.any(pc.is_valid(reasons)).as_py()
    shape = case.input.shape
    most = rows_per_chunk(int(np.prod(shape)) * (4 if len(shape) == 1 else 1))
    refused = _refused(listing, reasons)
    # A filter copies even where it takes nothing away, and rows may be many.
    rows = (with_labels if all_kept else with_labels.filter(kept)).combine_chunks()
    fields = listing.fields if all_kept else listing.fields.filter(kept)
    return ListedDataSet(name, rows, fields, refused, most, listing.notes, listing.vector_columns)


def selected_rows(case: Case, name: str) -> Listing:
    """List the rows of a dataset's source that it selects, sorted by id; of a divided one, those of all parts.

    Where images are cropped, every row has its box.

    Raises:
        UserError: the source cannot be read, or is empty.
    """
    data_set = case.datasets[name]
    lenient = case.ingest.broken_archives == "quarantine"
    try:
        listing = list_source(str(case.data_root), data_set.source, quarantine_broken_archives=lenient)
    except UserError as error:
        raise UserError(f"datasets.{name}: {error}") from None
    # Sources list in the order of a disk, an archive or a table: blocks must not depend on it.
    listing = listing.sorted_by_id()
    if data_set.select is not None:
        listing = _selected(name, data_set, listing)
    if not len(listing):
        raise UserError(f"datasets.{name}: found no input in {', '.join(data_set.source.path)}; at least one is needed")
    return with_boxes(listing, input_of_data_set(case.input, data_set), f"datasets.{name}.source")


def _rows_of_part(
    name: str, part: Part, tasks: Mapping[str, Task], listing: Listing, labels: Mapping[str, pa.Array]
) -> pa.Array:
    """Return the numbers of the rows that are a part's, int64."""

    def cells(key: str, named: str) -> list[str | None]:
        which, texts = distinct_cells(column(listing.fields, named, f"datasets.{name}.split.{key}"))
        return np.array([*texts, None], dtype=object)[which].tolist()  # type: ignore[no-any-return]

    ids = listing.rows["id"].to_pylist()
    groups = ids
    if part.by is not None:
        together = zip(ids, cells("by", part.by), strict=True)
        # Of a joint split the value alone counts: other tables may call the column otherwise, and write 7 as 7.0.
        groups = [
            row_id if cell is None else whole_number(cell) if part.joint else f"{part.by}={cell}"
            for row_id, cell in together
        ]
    times = None if part.time is None else cells("time", part.time)
    named = [task for task in part.stratify if task in labels]
    of_tasks = {task: label_array(pa.chunked_array([labels[task]]), tasks[task]) for task in named}
    return pa.array(np.flatnonzero(part_of_rows(part, groups, of_tasks, times)), pa.int64())


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
    if select.where:
        listing = listing.take(pa.array(_rows_where(name, select, listing), pa.int64()))
    if select.rows is None and not select.start:
        return listing
    end = len(listing) if select.rows is None else select.start + select.rows
    if max(end, select.start + 1) > len(listing):
        raise UserError(
            f"datasets.{name}.select: found rows {select.start} to {end}; the source has {len(listing)}"
            f"{' such rows' if select.where else ''}"
        )
    order = np.random.Generator(np.random.PCG64(select.shuffle_seed)).permutation(len(listing))
    return listing.take(pa.array(np.sort(order[select.start : end]), pa.int64()))


def _rows_where(name: str, select: Select, listing: Listing) -> np.ndarray:
    """Return the rows in which columns have the values that are named; and lines that are no rows, which may be any."""
    whole = np.ones(len(listing), dtype=bool)
    for key, wanted in select.where.items():
        which, texts = distinct_cells(column(listing.fields, key, f"datasets.{name}.select.where"))
        same = np.array([*(has_value(text, wanted) for text in texts), False], dtype=bool)[which]
        if not same.any():
            there = Counter(np.array([*texts, None], dtype=object)[which].tolist())
            found = ", ".join(f"{text!r} ({n:,})" for text, n in there.most_common(5) if text is not None)
            raise UserError(
                f"datasets.{name}.select.where.{key}: found no row with {' or '.join(map(repr, wanted))}; "
                f"the column has {found or 'empty cells alone'}{', ...' if len(there) > 5 else ''}"
            )
        no_row = pc.is_valid(listing.rows["refused"]).to_numpy(zero_copy_only=False) & (which < 0)
        whole &= same | no_row
    return np.flatnonzero(whole)


def _names(case: Case, key: str, path: str) -> dict[str, str]:
    try:
        (place,) = find_places(str(case.data_root), [path], files=True)
    except (NothingThereError, ValueError):
        raise UserError(f"{key}: found {path!r}, no such file below {case.data_root}") from None
    assert place.file is not None
    try:
        return read_names(place.file, place.tree().read_text(place.file))
    except ValueError as error:
        raise UserError(f"{key}: {place}: {error}") from None


def _one_row_an_image(
    listing: Listing,
    data_set: DataSet,
    tasks: Mapping[str, Task],
    labels: Mapping[str, pa.Array],
    reasons: pa.ChunkedArray,
) -> tuple[Listing, dict[str, pa.Array], pa.ChunkedArray]:
    """Put the rows of an id together, in a table in long format; rows are sorted by id."""
    ids = listing.rows["id"].combine_chunks()
    n = len(ids)
    starts = np.flatnonzero(np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False))[:n])
    ends = np.append(starts[1:], n)
    groups = list(zip(starts.tolist(), ends.tolist(), strict=True))
    merged, contradicted = {}, np.zeros(len(starts), dtype=bool)
    for task, of_rows in labels.items():
        values = label_array(pa.chunked_array([of_rows]), tasks[task])
        rule = data_set.labels[task]
        if tasks[task].encoding == "numbers":
            means = [mean_of(values[a:b]) for a, b in groups]
            merged[task] = arrow_labels(np.stack(means), tasks[task])
            continue
        if tasks[task].encoding == "class" and rule.long:
            merged[task] = pa.array([majority(values[a:b].tolist(), MISSING) for a, b in groups], pa.int32())
            continue
        highest = np.maximum.reduceat(values, starts)
        lowest = np.minimum.reduceat(np.where(values == MISSING, np.iinfo(values.dtype).max, values), starts)
        differ = (highest != MISSING) & (highest != lowest)
        if rule.value_column is not None or not rule.long:
            contradicted |= differ.reshape(len(starts), -1).any(axis=1)
        merged[task] = arrow_labels(highest, tasks[task])
    told = reasons.to_pylist()
    first = [
        next((reason for reason in told[a:b] if reason is not None), None)
        or ("contradicting rows: the same image, labelled otherwise" if wrong else None)
        for (a, b), wrong in zip(groups, contradicted.tolist(), strict=True)
    ]
    together = listing.take(pa.array(starts, pa.int64()))
    together = together.with_notes({"rows put together with another row of the same image": n - len(starts)})
    return together, merged, pa.chunked_array([pa.array(first, pa.string())])


def _aligned(case: Case, name: str, task: str, tasks: dict[str, Task], listing: Listing, place: str) -> Aligned:
    rule, fields = case.datasets[name].labels[task], listing.fields
    if rule.where == "model":
        file = predictions_file(case, name, rule, listing, full=asks_for_all(rule, tasks[task]))
        return align_predictions(rule, tasks[task], case.tasks[task].aliases, listing.rows["id"], file)
    found_in = rule.through or task
    names = None if rule.names is None else _names(case, f"datasets.{name}.labels.{task}.names", rule.names)
    aligned = align(rule, tasks[found_in], case.tasks[found_in].aliases, fields, place, names)
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
    boxes = "; of several boxes in an image source.id_column tells which is which" if BOX in rows.column_names else ""
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
                refused[i] = f"duplicate id: {len(usable)} rows that differ{boxes}"
    return pa.chunked_array([pa.array(refused, pa.string())])


def _groups(same_as_next: np.ndarray) -> Iterator[list[int]]:
    """Yield the places of equal neighbours, given the places that equal the next one."""
    breaks = np.flatnonzero(np.diff(same_as_next) > 1) + 1
    for run in np.split(same_as_next, breaks):
        yield [*run.tolist(), int(run[-1]) + 1]
