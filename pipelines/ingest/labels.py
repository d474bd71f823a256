"""Align a source's labels to a task's vocabulary: class indices, true, false, or not annotated."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtlcore import MISSING, Multiclass, Task
from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.blocks.schema import label_type
from pipelines.case.data import LabelRule
from pipelines.sources.listing import column

_WHOLE = re.compile(r"^(-?\d+)\.0+$")
_MOST_LOOKED_UP = 100  # words outside the vocabulary, for the nearest inside: nobody reads more
_TRUE, _FALSE = {"1", "true", "yes"}, {"0", "false", "no"}


@dataclass(frozen=True)
class Aligned:
    """The labels of some rows.

    Attributes:
        labels: int32 (the class) or a fixed-size list of bool; null, also within a list, where not annotated.
        wrong: string, what is wrong with a row's label; null where nothing is.
    """

    labels: pa.Array
    wrong: pa.Array


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


def align(rule: LabelRule, task: Task, aliases: dict[str, str], fields: pa.Table, where: object) -> Aligned:
    """Read a task's labels from the columns of a source.

    Args:
        rule: where they stand.
        task: whose classes or labels are the vocabulary.
        aliases: other words for them.
        fields: the source's columns.
        where: the source, for messages.

    Raises:
        UserError: a column is not there.
    """
    try:
        if isinstance(task, Multiclass):
            name = "folder" if rule.where == "folder" else str(rule.column)
            return _classes(column(fields, name, where), rule, task.outputs, aliases)
        if rule.where == "columns":
            return _columns(fields, rule, task.outputs, aliases, where)
        return _held(column(fields, str(rule.column), where), rule, task.outputs, aliases)
    except pa.ArrowException as error:
        of = f" {rule.column!r}" if rule.column else "s"
        raise UserError(f"{where}: the column{of} cannot be read as labels of {task.name!r}: {error}") from None


def nothing_annotated(task: Task, rows: int) -> Aligned:
    """Return the labels of rows of which nothing is known."""
    return Aligned(pa.nulls(rows, label_type(task)), pa.nulls(rows, pa.string()))


def through(aligned: Aligned, rows: Sequence[Any], task: Task) -> Aligned:
    """Replace every class by its row of a relatedness table of zeros and ones: a class, or a list of bool a row."""
    values = pa.array(list(rows), label_type(task))
    return Aligned(values.take(aligned.labels), aligned.wrong)


def text_of(value: Any) -> str | None:
    """Return a cell's text, trimmed; None for an empty one, a null, or a float's NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _meaning(cells: Any, mean: Callable[[str], Any]) -> tuple[np.ndarray, list[Any]]:
    """Look at every different cell once: which one a row has (-1: empty), and what each means."""
    values = _plain(cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells)
    encoded = values.dictionary_encode()
    texts = [text_of(value) for value in encoded.dictionary.to_pylist()]
    which = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return which, [None if text is None else mean(text) for text in texts]


def _number(text: str) -> str:
    """Write a whole number without its point: pandas makes 1.0 of a column of ones with a gap."""
    return _WHOLE.sub(r"\1", text)


class _Wrong(str):
    """Why a cell means nothing."""


def _classes(cells: Any, rule: LabelRule, vocabulary: Sequence[str], aliases: dict[str, str]) -> Aligned:
    number = {name: i for i, name in enumerate(vocabulary)}
    which, means = _meaning(cells, _word(number, aliases, rule))
    return Aligned(_taken(means, which, pa.int32()), _wrong_of(means, which))


def _word(number: dict[str, int], aliases: dict[str, str], rule: LabelRule) -> Callable[[str], int | _Wrong | None]:
    """A word's number in the vocabulary; None for a code that means "not annotated"."""
    looked_up = 0

    def mean(text: str) -> int | _Wrong | None:
        words = (text, _number(text), text.lower() if text in ("True", "False") else text)
        if any(word in rule.not_annotated for word in words):
            return None
        for word in words:
            if (found := number.get(aliases.get(word, word))) is not None:
                return found
        nonlocal looked_up
        looked_up += 1
        if looked_up > _MOST_LOOKED_UP:
            return _Wrong(f"found the label {text!r}, which the task does not have")
        return _Wrong(
            f"found the label {text!r}, which the task does not have{did_you_mean(text, [*number, *aliases])}"
        )

    return mean


def _taken(means: Sequence[Any], which: np.ndarray, kind: pa.DataType) -> pa.Array:
    plain = pa.array([None if isinstance(one, _Wrong) else one for one in means], kind)
    return plain.take(pa.array(which, mask=which < 0)) if len(plain) else pa.nulls(len(which), kind)


def _wrong_of(means: Sequence[Any], which: np.ndarray) -> pa.Array:
    reasons = pa.array([str(one) if isinstance(one, _Wrong) else None for one in means], pa.string())
    return reasons.take(pa.array(which, mask=which < 0)) if len(reasons) else pa.nulls(len(which), pa.string())


def _held(cells: pa.ChunkedArray, rule: LabelRule, vocabulary: Sequence[str], aliases: dict[str, str]) -> Aligned:
    """Read columns with the labels that hold: a list, or text separated by ``|``; or a list of L truth values.

    An empty list says that none holds; a cell or a list with nothing in it but codes says that nothing is known.
    """
    values = _plain(cells.combine_chunks())
    if pa.types.is_string(values.type):
        trimmed = pc.utf8_trim_whitespace(values)
        text = pc.if_else(pc.equal(trimmed, ""), None, trimmed)
        values = pc.split_pattern(text, "|")
        only_bars = pc.equal(pc.replace_substring(pc.fill_null(text, "x"), "|", ""), "")
        none_holds = pa.array([[]] * len(values), values.type)
        values = pc.if_else(only_bars, none_holds, values)
    elif not pa.types.is_nested(values.type):  # one label a row, as a number or a truth value
        values = pa.array([None if text_of(v) is None else [v] for v in values.to_pylist()], pa.list_(values.type))
    missing = pc.is_null(values).to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(values.type) or pa.types.is_large_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    flat, parents = _plain(pc.list_flatten(values)), pc.list_parent_indices(values).to_numpy(zero_copy_only=False)
    numbers = pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)
    if pa.types.is_boolean(flat.type) or (numbers and not _are_names(vocabulary) and _are_truths(flat, rule)):
        return _truths(values, rule, len(vocabulary))
    holds = np.zeros((len(values), len(vocabulary)), dtype=bool)
    wrong = np.full(len(values), None, dtype=object)
    number = {name: i for i, name in enumerate(vocabulary)}
    which, means = _meaning(flat, _word(number, aliases, rule))
    place = _taken(means, which, pa.int32())
    known = pc.is_valid(place).to_numpy(zero_copy_only=False)
    holds[parents[known], pc.fill_null(place, 0).to_numpy(zero_copy_only=False)[known]] = True
    reasons = _wrong_of(means, which)
    for i in np.flatnonzero(pc.is_valid(reasons).to_numpy(zero_copy_only=False)).tolist():
        wrong[parents[i]] = wrong[parents[i]] or reasons[i].as_py()
    says_something = holds.any(axis=1) | np.array([reason is not None for reason in wrong], dtype=bool)
    empty = pc.fill_null(pc.equal(pc.list_value_length(values), 0), False).to_numpy(zero_copy_only=False)
    missing = missing | ~(says_something | empty)
    annotated = np.repeat(~missing[:, None], len(vocabulary), axis=1)
    return Aligned(_lists(holds, annotated, missing), pa.array(wrong.tolist(), pa.string()))


def _truths(values: pa.Array, rule: LabelRule, width: int) -> Aligned:
    """Read lists of a truth value a label."""
    holds = np.zeros((len(values), width), dtype=bool)
    annotated = np.zeros((len(values), width), dtype=bool)
    wrong: list[str | None] = [None] * len(values)
    mean = _truth(rule)
    for i, row in enumerate(values.to_pylist()):
        truths = [None if (text := text_of(value)) is None else mean(text) for value in row or ()]
        if all(truth is None for truth in truths):
            continue
        if len(truths) != width:
            wrong[i] = f"found {len(truths)} truth values; expected {width}, one per label"
            continue
        wrong[i] = next((str(truth) for truth in truths if isinstance(truth, _Wrong)), None)
        holds[i] = [truth is True for truth in truths]
        annotated[i] = [truth is not None for truth in truths]
    return Aligned(_lists(holds, annotated, np.asarray(~annotated.any(axis=1))), pa.array(wrong, pa.string()))


def _plain(values: pa.Array) -> pa.Array:
    """Return text as text, however a table keeps it: categories, large strings, bytes of UTF-8."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type) or _is_bytes(values.type):
        values = values.cast(pa.string())
    return values


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _are_truths(flat: pa.Array, rule: LabelRule) -> bool:
    """Say whether numbers are truth values, not names of labels."""
    texts = {text_of(value) for value in pc.unique(flat).to_pylist()}
    return texts <= {"0", "1", None, *rule.not_annotated} or rule.threshold is not None


def _are_names(vocabulary: Sequence[str]) -> bool:
    """Say whether labels are called by numbers, so that a list of numbers names them."""
    return all(name.lstrip("-").isdigit() for name in vocabulary)


def _lists(holds: np.ndarray, annotated: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    rows, width = holds.shape
    flat = pa.array(holds.reshape(-1), mask=~annotated.reshape(-1))
    mask = None if missing is None else pa.array(missing)
    made = pa.FixedSizeListArray.from_arrays(flat, width, mask=mask)
    assert len(made) == rows
    return made


def _truth(rule: LabelRule) -> Callable[[str], bool | _Wrong | None]:
    def mean(text: str) -> bool | _Wrong | None:
        text = text if text in rule.not_annotated else _number(text)
        if text in rule.not_annotated:
            return None
        if rule.threshold is not None:
            try:
                intensity = float(text)
            except ValueError:
                return _Wrong(f"found {text!r}; expected a number")
            return None if math.isnan(intensity) else intensity >= rule.threshold
        lower = text.lower()
        if lower in _TRUE or lower in _FALSE:
            return lower in _TRUE
        return _Wrong(f"found {text!r}; expected 1, 0, true, false or empty")

    return mean


def _columns(
    fields: pa.Table, rule: LabelRule, vocabulary: Sequence[str], aliases: dict[str, str], where: object
) -> Aligned:
    n = fields.num_rows
    holds = np.zeros((n, len(vocabulary)), dtype=bool)
    annotated = np.zeros((n, len(vocabulary)), dtype=bool)
    wrong = pa.nulls(n, pa.string())
    for index, label in enumerate(vocabulary):
        called = [label, *(alias for alias, name in aliases.items() if name == label)]
        name = next((one for one in called if one in fields.column_names), label)
        which, means = _meaning(column(fields, name, where), _truth(rule))
        truths = _taken(means, which, pa.bool_())
        annotated[:, index] = pc.is_valid(truths).to_numpy(zero_copy_only=False)
        holds[:, index] = pc.fill_null(truths, False).to_numpy(zero_copy_only=False)
        here = _wrong_of(means, which)
        if here.null_count < n:
            wrong = pc.coalesce(wrong, pc.binary_join_element_wise(f"column {name!r}: ", here, ""))
    return Aligned(_lists(holds, annotated), wrong)
