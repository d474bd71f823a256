"""Finish a dataset's ingest: write quarantine.parquet and, last, manifest.json."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mtlcore import Task
from pipelines.base.atomic import clear_scratch
from pipelines.base.errors import UserError
from pipelines.base.fingerprint import fingerprint
from pipelines.base.storage import delete, is_remote, join, read_bytes, write_whole
from pipelines.blocks.label_encoding import label_array
from pipelines.blocks.manifest import MANIFEST, QUARANTINE, BlockEntry, LabelCounts, Manifest, SourceCounts
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.ingest.list_rows import QUARANTINED, ListedDataSet, original_rows
from pipelines.ingest.make_block import outcome_file

_FILES_AT_ONCE = 16


@dataclass(frozen=True)
class Finished:
    """What a dataset's ingest came to.

    Attributes:
        manifest: what stands in the blocks.
        rows: the rows in the blocks, in their order, with one column per labelled task.
        problem: what to tell where too many rows are in quarantine, else None.
    """

    manifest: Manifest
    rows: pa.Table
    problem: str | None


def finish_data_set(
    case: Case,
    listed: ListedDataSet,
    folder: str,
    settings: dict[str, Any],
    outcomes: Mapping[tuple[str, str], str],
    before: Manifest | None,
) -> Finished:
    """Write the quarantine and the manifest of a dataset whose blocks are all there.

    Args:
        case: the case.
        listed: the dataset's rows.
        folder: where its blocks are.
        settings: what they were made with.
        outcomes: what came of the chunks made just now, by dataset and key.
        before: the manifest that stands there.

    Returns:
        what it came to; where too many rows are in quarantine, the manifest is not written.
    """
    came = _outcomes(listed, folder, outcomes)
    failed = {row["id"]: row["reason"] for outcome in came for row in outcome["failed"]}
    blocks = tuple(BlockEntry(**outcome["block"]) for outcome in came)
    # Rows that failed in an earlier ingest stand in its outcome files: they are told again without being read again.
    bad = pc.is_in(listed.rows["id"], pa.array(list(failed), pa.string())).to_numpy()
    quarantined = _quarantined(listed, failed, np.flatnonzero(bad))
    tasks = tasks_of(case)
    notes = Counter(listed.notes)
    for outcome in came:
        notes.update(outcome["notes"])
    rows = listed.rows.filter(pa.array(~bad))
    manifest = Manifest(
        data_set=listed.name,
        split=case.datasets[listed.name].split,
        fingerprint=fingerprint(settings),
        settings=settings,
        content_hash=fingerprint([block.digest for block in blocks]),
        rows_in=len(listed.rows) + len(listed.refused),
        rows=sum(block.rows for block in blocks),
        quarantined=len(quarantined),
        shape=case.input.shape,
        blocks=blocks,
        labels={task: count_labels(rows[task], tasks[task]) for task in case.datasets[listed.name].labels},
        sources=by_source(listed, quarantined),
        notes=dict(sorted(notes.items())),
        vector_columns=listed.vector_columns,
        reasons=dict(sorted(Counter(kind_of_reason(r) for r in quarantined["reason"].to_pylist()).items())),
    )
    assert manifest.rows_in == manifest.rows + manifest.quarantined
    assert manifest.rows_in == sum(of.rows_in for of in manifest.sources.values())
    _write_quarantine(folder, quarantined)
    if manifest.quarantined > case.ingest.most_quarantined * manifest.rows_in or not manifest.rows:
        for chunk, outcome in zip(listed.chunks, came, strict=True):
            if outcome["failed"]:
                delete(outcome_file(folder, chunk.key))  # what could not be read is tried again the next time
        return Finished(manifest, rows, _too_many(case, manifest, quarantined, folder))
    # Left alone where it is the same: its time tells when the dataset last changed.
    if manifest != before:
        write_whole(join(folder, MANIFEST), manifest.model_dump_json(indent=1))
    if not is_remote(folder):
        clear_scratch(Path(folder))
    return Finished(manifest, rows, None)


def _outcomes(listed: ListedDataSet, folder: str, known: Mapping[tuple[str, str], str]) -> Sequence[dict[str, Any]]:
    def read(key: str) -> dict[str, Any]:
        of_key = known.get((listed.name, key))
        try:
            outcome: dict[str, Any] = json.loads(of_key or read_bytes(outcome_file(folder, key)))
            BlockEntry.model_validate(outcome["block"])
            if not isinstance(outcome["failed"], list) or not isinstance(outcome["notes"], dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            words = "cut short or damaged; delete the file, and `kindred ingest` makes it and its block again"
            raise UserError(f"{outcome_file(folder, key)}: {words}") from None
        return outcome

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        return list(pool.map(read, [chunk.key for chunk in listed.chunks]))


def _quarantined(listed: ListedDataSet, failed: Mapping[str, str], indices: np.ndarray) -> pa.Table:
    taken = listed.rows.take(pa.array(indices, pa.int64()))
    ids = taken["id"].to_pylist()
    rows = [
        ids,
        taken["source"].to_pylist(),
        [failed[row_id] for row_id in ids],
        original_rows(listed.fields, listed.rows, indices),
    ]
    here = pa.table([pa.array(column, pa.string()) for column in rows], schema=QUARANTINED)
    both = pa.concat_tables([listed.refused, here])
    # In one order, so that the file is the same bytes however the work was spread.
    return both.sort_by([("id", "ascending"), ("reason", "ascending"), ("row", "ascending")])


def _write_quarantine(folder: str, quarantined: pa.Table) -> None:
    url = join(folder, QUARANTINE)
    if not len(quarantined):
        delete(url)
        return
    sink = pa.BufferOutputStream()
    pq.write_table(quarantined, sink)
    write_whole(url, sink.getvalue())


def by_source(listed: ListedDataSet, quarantined: pa.Table) -> dict[str, SourceCounts]:
    """Count a dataset's rows by the places of its source; ``quarantined`` are those that are not used."""
    all_in = Counter(_counted(listed.rows["source"])) + Counter(_counted(listed.refused["source"]))
    out = Counter(_counted(quarantined["source"]))
    return {
        source: SourceCounts(rows_in=n, rows=n - out[source], quarantined=out[source])
        for source, n in sorted(all_in.items())
    }


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    return {pair["values"]: pair["counts"] for pair in pc.value_counts(values).to_pylist()}


def count_labels(labels: pa.ChunkedArray, task: Task) -> LabelCounts:
    """Count a task's labels.

    Args:
        labels: as blocks hold them; null where not annotated.
        task: the task.
    """
    if task.encoding == "numbers":
        return _count_numbers(label_array(labels, task), task.outputs)
    if task.encoding == "class":
        counts = np.bincount(labels.drop_null().to_numpy(), minlength=len(task.outputs))
        return LabelCounts(
            annotated=len(labels) - labels.null_count,
            histogram=dict(zip(task.outputs, counts.tolist(), strict=True)),
        )
    cells = _cells(labels, len(task.outputs))
    annotated, holds = ~np.isnan(cells), cells == 1
    return LabelCounts(
        annotated=int(annotated.any(axis=1).sum()),
        histogram=dict(zip(task.outputs, holds.sum(axis=0).tolist(), strict=True)),
        known=dict(zip(task.outputs, annotated.sum(axis=0).tolist(), strict=True)),
    )


def _count_numbers(values: np.ndarray, outputs: Sequence[str]) -> LabelCounts:
    by_output = {
        name: column[~np.isnan(column)].astype(np.float64) for name, column in zip(outputs, values.T, strict=True)
    }
    some = {name: column for name, column in by_output.items() if len(column)}
    return LabelCounts(
        annotated=int((~np.isnan(values)).any(axis=1).sum()),
        histogram={},
        known={name: len(column) for name, column in by_output.items()},
        mean={name: float(column.mean()) for name, column in some.items()},
        spread={name: float(column.std()) for name, column in some.items()},
        range={name: (float(column.min()), float(column.max())) for name, column in some.items()},
    )


def _cells(labels: pa.ChunkedArray, width: int) -> np.ndarray:
    """Return labels as float32 (n, L), NaN where not annotated."""
    kept = labels.drop_null().combine_chunks()
    kept = pa.concat_arrays(kept.chunks) if isinstance(kept, pa.ChunkedArray) else kept
    flat = pc.list_flatten(kept).cast(pa.float32())
    return np.asarray(pc.fill_null(flat, float("nan")).to_numpy(zero_copy_only=False)).reshape(-1, width)


def kind_of_reason(reason: str) -> str:
    """Return what a reason has in common with others of its kind."""
    return reason.split(":")[0]


def _too_many(case: Case, manifest: Manifest, quarantined: pa.Table, folder: str) -> str:
    counted = ", ".join(f"{n} {kind}" for kind, n in Counter(manifest.reasons).most_common())
    ids = quarantined["id"].to_pylist()
    first = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
    return (
        f"datasets.{manifest.data_set}: {manifest.quarantined} of {manifest.rows_in} rows could not be used "
        f"({counted}); "
        f"at most {case.ingest.most_quarantined:.3g} of them may (ingest.most_quarantined): {first}; all are listed in "
        f"{join(folder, QUARANTINE)}"
    )
