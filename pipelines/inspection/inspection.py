"""Inspect a case's datasets, before their ingest or after it.

::

    rows and their labels, listed or from blocks         rows.py
        -> counts, leakage, what is annotated for what   here, overlap.py
        -> tables for the terminal                       tables.py
    a few rows at random -> images with their labels     samples.py -> contact_sheet.py
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from mtlcore import Task
from pipelines.base.errors import UserError
from pipelines.base.progress import bar
from pipelines.base.storage import join, read_bytes
from pipelines.blocks.manifest import QUARANTINE, SourceCounts
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.ingest.finish import by_source, kind_of_reason
from pipelines.ingest.ingest import ingested
from pipelines.ingest.label_warnings import label_warnings
from pipelines.inspection.notebook import inspection_html
from pipelines.inspection.overlap import Overlap, overlap_of
from pipelines.inspection.rows import BlockRows, ListedRows, Rows, annotated_rows
from pipelines.sources.embedded import write_embedded


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class LabelCount(_Part):
    """A class, or a label: in how many rows it holds, of how many that are annotated for it."""

    label: str
    holds: int
    annotated: int


_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class NumberCount(_Part):
    """A number of a regression task: how many rows are annotated, its quartiles (0 to 100 %), and its deviation."""

    name: str
    annotated: int
    quantiles: tuple[float, ...]
    spread: float


class TaskCounts(_Part):
    """The labels of a task in a dataset; ``annotated`` rows have at least one. ``kind`` is as in the case file."""

    task: str
    kind: str
    annotated: int
    labels: tuple[LabelCount, ...]
    numbers: tuple[NumberCount, ...] = ()


class Reason(_Part):
    """Why rows cannot be used: how many for this reason, and the first of them."""

    kind: str
    rows: int
    first: str
    says: str


class InspectedDataSet(_Part):
    """What is known about a dataset.

    Attributes:
        rows_in: the rows of its source, or those that ``select`` takes: ``rows + quarantined``.
        rows: the rows in blocks; before the ingest, those whose inputs are still to be read.
        quarantined: the rows that cannot be used; before the ingest, those of which that is known already.
        reasons: why, the most frequent first.
        excluded: rows in blocks that take no part: their inputs stand in a later split too.
        sources: the same by place.
        tasks: the labels of the rows that take part; a task without labels here is left out.
        selected: whether the case file selects a part of the source.
        stops: what the ingest would stop at, if anything is known of that.
        notes: what else is to be known of its files, lines and inputs, and of how many of them.
    """

    name: str
    split: str
    rows_in: int
    rows: int
    quarantined: int
    excluded: int
    selected: bool
    reasons: tuple[Reason, ...]
    sources: dict[str, SourceCounts]
    tasks: tuple[TaskCounts, ...]
    stops: tuple[str, ...]
    notes: dict[str, int]


class Leak(_Part):
    """Rows of a dataset whose inputs stand in a later split too, or (``near``) look like one that does, and what was
    done: ``removed`` or ``kept``."""

    data_set: str
    split: str
    also_in: str
    also_in_split: str
    rows: int
    done: str
    near: bool = False


class SheetTile(_Part):
    """An image of the contact sheet; ``problem`` is why it could not be read."""

    data_set: str
    id: str
    problem: str | None


class SheetInfo(_Part):
    """The contact sheet: where it lies, and what is on it."""

    file: str
    seed: int
    tiles: tuple[SheetTile, ...]


class Inspection(_Part):
    """What is known about a case's datasets.

    Attributes:
        ingested: whether it was looked at after the ingest, else before.
        shape: of an input; of three dimensions for images, of one for vectors.
        leakage: None where it is not known yet; empty where there is none.
        warnings: what is odd about the labels as a whole, worst first.
        sheet: None where there is none: inputs are vectors, or no images were asked for.
    """

    case: str
    ingested: bool
    shape: tuple[int, ...]
    data_sets: tuple[InspectedDataSet, ...]
    overlap: tuple[Overlap, ...]
    leakage: tuple[Leak, ...] | None
    warnings: tuple[str, ...]
    sheet: SheetInfo | None = None

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return inspection_html(self.model_dump())


def open_data_sets(case: Case) -> dict[str, Rows]:
    """Open every dataset of a case: its blocks if it is ingested with these settings, else its source.

    Raises:
        UserError: a source cannot be listed, or a block is gone.
    """
    try:
        made = ingested(case)
    except UserError:
        made = None
        write_embedded(case.embedded, case.data_root)
    opened: dict[str, Rows] = {}
    with bar("read labels" if made else "list sources", len(case.datasets), "datasets") as shown:
        for name in case.datasets:
            shown.show(len(opened), name)
            opened[name] = (
                BlockRows(case, name, made.folders[name], made.manifests[name]) if made else ListedRows(case, name)
            )
    return opened


def inspection_of(case: Case, opened: dict[str, Rows]) -> Inspection:
    """Count what there is to count, but for the contact sheet.

    Args:
        case: the case.
        opened: what ``open_data_sets`` has opened.
    """
    splits = {split: [opened[name] for name in case.of_split(split)] for split in ("train", "validation", "test")}
    of_blocks = {name: rows for name, rows in opened.items() if isinstance(rows, BlockRows)}
    return Inspection(
        case=case.name,
        ingested=bool(of_blocks),
        shape=case.input.shape,
        data_sets=tuple(_data_set(case, name, rows) for name, rows in opened.items()),
        overlap=tuple(overlap_of(split, list(case.tasks), sets) for split, sets in splits.items() if sets),
        leakage=_leakage(case, of_blocks) if of_blocks else None,
        warnings=tuple(label_warnings(case, {name: rows.counts for name, rows in opened.items()})),
    )


def _data_set(case: Case, name: str, rows: Rows) -> InspectedDataSet:
    data_set, tasks = case.datasets[name], tasks_of(case)
    if isinstance(rows, BlockRows):
        manifest = rows.manifest
        n, quarantined, excluded, sources = (
            manifest.rows,
            manifest.quarantined,
            len(manifest.excluded),
            manifest.sources,
        )
        reasons = _reasons(_quarantine(rows)) if quarantined else ()
        stops: tuple[str, ...] = ()
    else:
        n, quarantined, excluded = len(rows), rows.listed.refused.num_rows, 0
        sources = by_source(rows.listed, rows.listed.refused)
        reasons = _reasons(rows.listed.refused)
        stops = tuple(_stops(case, n, quarantined, reasons))
    return InspectedDataSet(
        name=name,
        split=data_set.split,
        rows_in=n + quarantined,
        rows=n,
        quarantined=quarantined,
        excluded=excluded,
        selected=data_set.select is not None,
        reasons=reasons,
        sources=sources,
        tasks=tuple(_task(tasks[task], labels) for task, labels in rows.labels.items()),
        stops=stops,
        notes=dict(rows.manifest.notes if isinstance(rows, BlockRows) else rows.listed.notes),
    )


def _task(task: Task, labels: np.ndarray) -> TaskCounts:
    known = int(annotated_rows(labels).sum())
    if task.encoding == "numbers":
        return TaskCounts(task=task.name, kind=task.kind, annotated=known, labels=(), numbers=_numbers(task, labels))
    if task.encoding == "class":
        holds = np.bincount(labels[labels >= 0], minlength=len(task.outputs))
        annotated = np.full(len(task.outputs), known)
    else:
        holds, annotated = (labels == 1).sum(axis=0), (labels >= 0).sum(axis=0)
    counts = zip(task.outputs, holds.tolist(), annotated.tolist(), strict=True)
    return TaskCounts(
        task=task.name,
        kind=task.kind,
        annotated=known,
        labels=tuple(LabelCount(label=label, holds=h, annotated=a) for label, h, a in counts),
    )


def _numbers(task: Task, labels: np.ndarray) -> tuple[NumberCount, ...]:
    counts = []
    for name, column in zip(task.outputs, labels.astype(np.float64).T, strict=True):
        there = column[~np.isnan(column)]
        quantiles = tuple(np.quantile(there, _QUANTILES).tolist()) if len(there) else ()
        spread = float(there.std()) if len(there) else 0.0
        counts.append(NumberCount(name=name, annotated=len(there), quantiles=quantiles, spread=spread))
    return tuple(counts)


def _quarantine(rows: BlockRows) -> pa.Table:
    return pq.read_table(pa.BufferReader(read_bytes(join(rows.folder, QUARANTINE))))


def _reasons(quarantined: pa.Table) -> tuple[Reason, ...]:
    reasons: dict[str, Reason] = {}
    for place, says in zip(quarantined["id"].to_pylist(), quarantined["reason"].to_pylist(), strict=True):
        kind = kind_of_reason(says)
        before = reasons.get(kind)
        if before is None:
            reasons[kind] = Reason(kind=kind, rows=1, first=place or "", says=says.removeprefix(kind).lstrip(": "))
        else:
            reasons[kind] = before.model_copy(update={"rows": before.rows + 1})
    return tuple(sorted(reasons.values(), key=lambda reason: -reason.rows))


def _stops(case: Case, rows: int, refused: int, reasons: Sequence[Reason]) -> list[str]:
    """Say what the ingest would stop at, as far as the listing tells."""
    stops = []
    wrong = sum(reason.rows for reason in reasons if reason.kind == "wrong label")
    if wrong and case.ingest.unknown_labels == "fail":
        stops.append(f"{_rows(wrong)} with a wrong label (ingest.unknown_labels: quarantine sets them aside)")
    most = case.ingest.most_quarantined
    if refused > most * (rows + refused):
        stops.append(
            f"{refused:,} of {_rows(rows + refused)} refused; at most {most:.3g} of them may (most_quarantined)"
        )
    elif not rows:
        stops.append("no row is left")
    return stops


def _rows(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def _leakage(case: Case, opened: dict[str, BlockRows]) -> tuple[Leak, ...]:
    return tuple(
        Leak(
            data_set=name,
            split=rows.manifest.split,
            also_in=other,
            also_in_split=opened[other].manifest.split,
            rows=n,
            done="removed" if rows.manifest.excluded and (not near or case.ingest.leakage == "near") else "kept",
            near=near,
        )
        for name, rows in opened.items()
        for near, counted in ((False, rows.manifest.leakage), (True, rows.manifest.near))
        for other, n in counted.items()
    )
