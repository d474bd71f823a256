"""Labels that are numbers: read from cells, or cut into classes or ordered labels by ``bins``."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtlcore import Task
from pipelines.blocks.label_encoding import ENCODINGS, lists_of_truths
from pipelines.case.data import LabelRule
from pipelines.sources.cells import (
    Aligned,
    Wrong,
    column_of_output,
    meanings,
    plain_text,
    taken_labels,
    whole_number,
    wrong_of,
)
from pipelines.sources.listing import column

_BAR, _BLANK = "|", " "


class _Numbers:
    """What the cells of a source mean as numbers."""

    def __init__(self, rule: LabelRule) -> None:
        self._rule = rule

    def number(self, text: str) -> float | Wrong | None:
        """Return a cell's number; None for a code that means "not annotated"."""
        rule = self._rule
        for word in (text, whole_number(text)):
            if word in rule.not_annotated:
                return None
            if word in rule.values:
                meaning = rule.values[word]
                if meaning is None or isinstance(meaning, bool):
                    return None if meaning is None else float(meaning)
                text = meaning
                break
        try:
            value = float(text.removesuffix("%").rstrip())
        except ValueError:
            return Wrong(f"found {text!r}; expected a number, or empty")
        if math.isinf(value) or abs(value) > np.finfo(np.float32).max:
            return Wrong(f"found {text!r}; expected a finite number that float32 holds")
        return None if math.isnan(value) else value


def align_numbers(rule: LabelRule, task: Task, aliases: dict[str, str], fields: pa.Table, where: object) -> Aligned:
    """Read a regression task's labels: float32 a number, NaN where not annotated.

    Args:
        rule: where they stand.
        task: whose outputs they are.
        aliases: other names of the outputs' columns.
        fields: the source's columns.
        where: the source, for messages.

    Raises:
        UserError: a column is not there.
    """
    numbers, n, width = _Numbers(rule), fields.num_rows, len(task.outputs)
    if rule.where == "columns":
        names = [column_of_output(output, aliases, fields) for output in task.outputs]
        read = [_one_column(column(fields, name, where), numbers, name) for name in names]
        values = np.stack([of_column for of_column, _ in read], axis=1) if n else np.empty((0, width))
        wrong = pa.nulls(n, pa.string())
        for _, here in read:
            wrong = pc.coalesce(wrong, here)
        return _aligned(values, wrong)
    if rule.where == "annotators":
        said, wrong = [], pa.nulls(n, pa.string())
        for name in rule.columns:
            of_annotator, here = _cells(column(fields, name, where), numbers, width, rule)
            said.append(of_annotator)
            wrong = pc.coalesce(wrong, pc.binary_join_element_wise(f"column {name!r}: ", here, ""))
        return _aligned(mean_of(np.stack(said)), wrong)
    name = "folder" if rule.where == "folder" else str(rule.column)
    return _aligned(*_cells(column(fields, name, where), numbers, width, rule))


def binned(rule: LabelRule, task: Task, fields: pa.Table, where: object) -> Aligned:
    """Cut a column of numbers: class k, or the first k labels, hold from the k-th of ``bins`` on.

    Args:
        rule: the column, and the bins.
        task: of len(bins) + 1 classes, or of len(bins) labels.
        fields: the source's columns.
        where: the source, for messages.

    Raises:
        UserError: the column is not there.
    """
    name = "folder" if rule.where == "folder" else str(rule.column)
    values, wrong = _one_column(column(fields, name, where), _Numbers(rule))
    annotated, place = ~np.isnan(values), np.searchsorted(np.array(rule.bins), values, side="right")
    if task.encoding == "class":
        return Aligned(pa.array(place.astype(np.int32), mask=~annotated), wrong, pa.nulls(len(wrong), pa.string()))
    holds = place[:, None] > np.arange(len(task.outputs))
    known = np.repeat(annotated[:, None], len(task.outputs), axis=1)
    return Aligned(lists_of_truths(holds & known, known, ~annotated), wrong, pa.nulls(len(wrong), pa.string()))


def mean_of(said: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is annotated; NaN where nothing is."""
    known = ~np.isnan(said)
    n = known.sum(axis=0)
    return np.where(n > 0, np.where(known, said, 0).sum(axis=0) / np.maximum(n, 1), np.nan)


def _aligned(values: np.ndarray, wrong: pa.Array) -> Aligned:
    return Aligned(ENCODINGS["numbers"].to_arrow(values), wrong, pa.nulls(len(wrong), pa.string()))


def _one_column(cells: pa.ChunkedArray, numbers: _Numbers, name: str = "") -> tuple[np.ndarray, pa.Array]:
    """Return a number a cell, float64 (n,), NaN where there is none, and what is wrong."""
    which, means = meanings(cells, numbers.number)
    values = taken_labels(means, which, pa.float64())
    wrong = wrong_of(means, which)
    if name and wrong.null_count < len(wrong):
        wrong = pc.binary_join_element_wise(f"column {name!r}: ", wrong, "")
    return np.asarray(pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)), wrong


def _cells(cells: pa.ChunkedArray, numbers: _Numbers, width: int, rule: LabelRule) -> tuple[np.ndarray, pa.Array]:
    """Read a column of numbers, or of lists of as many as there are outputs: float64 (n, K), and what is wrong."""
    values = plain_text(cells.combine_chunks())
    if not pa.types.is_nested(values.type):
        if width == 1:
            read, wrong = _one_column(cells, numbers)
            return read[:, None], wrong
        separator = rule.separator or _BAR
        texts = values.cast(pa.string()).to_pylist()
        rows: list[Sequence[object] | None] = [
            None if not text else text.split() if separator == _BLANK else text.split(separator) for text in texts
        ]
    else:
        rows = values.to_pylist()
    read, reasons = np.full((len(rows), width), np.nan), [None] * len(rows)
    for i, row in enumerate(rows):
        if not row:
            continue
        if len(row) != width:
            reasons[i] = f"found {len(row)} numbers; expected {width}, one an output"  # type: ignore[call-overload]
            continue
        for k, cell in enumerate(row):
            text = "" if cell is None else str(cell).strip()
            number = numbers.number(text) if text else None
            if isinstance(number, Wrong):
                reasons[i] = str(number)  # type: ignore[call-overload]
            elif number is not None:
                read[i, k] = number
    return read, pa.array(reasons, pa.string())
