"""Align a source's own words to a task's vocabulary: classes to numbers, labels to true, false and not annotated."""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtlcore import Task
from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.blocks.label_encoding import label_type, lists_of_truths, shares_type
from pipelines.case.data import LabelRule
from pipelines.ingest.number_labels import align_numbers, binned
from pipelines.sources.cells import (
    Aligned,
    Wrong,
    listed_words,
    meanings,
    plain_text,
    taken_labels,
    text_of,
    whole_number,
    wrong_of,
)
from pipelines.sources.listing import column

_MOST_LOOKED_UP = 100  # words outside the vocabulary, for the nearest inside: nobody reads more
_TRUE, _FALSE = {"1", "true", "yes", "y", "t", "on"}, {"0", "false", "no", "n", "f", "off"}
_UNKNOWN = {"unknown", "not annotated"}
_NOBODYS = {"na", "n/a", "nan", "null", "none", "?", "-", "unk", "unknown", "missing", "nil", "#n/a"}
_BAR, _BLANK = "|", " "
_SEPARATORS = (_BLANK, ",", ";", "|", "/", "+", "&", "\t")  # looked for where a cell is no label

Names = Mapping[str, str]  # of classes or labels, by the number that a table has for them


def align(
    rule: LabelRule, task: Task, aliases: dict[str, str], fields: pa.Table, where: object, names: Names | None = None
) -> Aligned:
    """Read a task's labels from the columns of a source.

    Args:
        rule: where they stand.
        task: whose classes or labels are the vocabulary.
        aliases: other words for them.
        fields: the source's columns.
        where: the source, for messages.
        names: what the numbers in a table mean, by number.

    Raises:
        UserError: a column is not there.
    """
    n = fields.num_rows
    try:
        if rule.bins:
            return binned(rule, task, fields, where)
        if task.encoding == "numbers":
            return align_numbers(rule, task, aliases, fields, where)
        words = _Words(rule, task.outputs, aliases, names or {})
        if rule.where == "annotators":
            return _of_annotators(rule, task, words, fields, where)
        if rule.where == "columns":
            holds, annotated, wrong = _columns(fields, words, where)
            if task.encoding == "class":
                return _one_hot(holds, annotated, wrong, words)
            return Aligned(lists_of_truths(holds, annotated), wrong, pa.nulls(n, pa.string()))
        name = "folder" if rule.where == "folder" else str(rule.column)
        if task.encoding == "class":
            return _classes(column(fields, name, where), words)
        aligned = _held(column(fields, name, where), words)
        return _with_values(aligned, fields, words, where) if rule.value_column else aligned
    except pa.ArrowException as error:
        of = f" {rule.column!r}" if rule.column else "s"
        raise UserError(f"{where}: the column{of} cannot be read as labels of {task.name!r}: {error}") from None


def nothing_annotated(task: Task, rows: int) -> Aligned:
    """Return the labels of rows of which nothing is known."""
    return Aligned(pa.nulls(rows, label_type(task)), pa.nulls(rows, pa.string()), pa.nulls(rows, pa.string()))


def through(aligned: Aligned, rows: Sequence[Any], task: Task) -> Aligned:
    """Replace every class by its row of a relatedness table of zeros and ones: a class, or a list of bool a row."""
    # A null class takes a null row: what is not annotated implies nothing.
    values = pa.array(list(rows), label_type(task))
    return replace(aligned, labels=values.take(aligned.labels))


def has_value(text: str | None, wanted: Sequence[bool | str]) -> bool:
    """Say whether a cell's text is one of some values; a truth value stands for every way to write it."""
    if text is None:
        return False
    for value in wanted:
        if isinstance(value, bool):
            if text.lower() in (_TRUE if value else _FALSE):
                return True
        elif value in (text, whole_number(text)):
            return True
    return False


def majority(votes: Iterable[Any], nothing: Any = None) -> Any:
    """Return what more than half of the votes are, those of ``nothing`` left out; None where there is no such."""
    # More than half, not the most: two of five that agree against three that do not are no agreement.
    said = Counter(vote for vote in votes if vote is not None and vote != nothing)
    if not said:
        return None
    (value, n), total = said.most_common(1)[0], sum(said.values())
    return value if 2 * n > total else None


class _Words:
    """What the words of a source mean in a task."""

    def __init__(self, rule: LabelRule, vocabulary: Sequence[str], aliases: dict[str, str], names: Names) -> None:
        self.rule, self.vocabulary, self.aliases, self.names = rule, vocabulary, aliases, names
        self.number = {name: i for i, name in enumerate(vocabulary)}
        self._not_annotated = set(rule.not_annotated)
        self._looked_up = 0

    def place(self, text: str) -> int | Wrong | None:
        """Return a word's number in the vocabulary; None for a code that means "not annotated"."""
        # The source's own spelling first: a class may be called "1.0" or "True".
        words = (text, whole_number(text), text.lower() if text in ("True", "False") else text)
        if any(word in self._not_annotated for word in words):
            return None
        for word in words:
            if word in self.rule.values:
                meaning = self.rule.values[word]
                if meaning is None or (isinstance(meaning, str) and meaning in _UNKNOWN - self.number.keys()):
                    return None
                word = str(meaning).lower() if isinstance(meaning, bool) else meaning
            else:
                word = self.names.get(word, word)
            if (found := self.number.get(self.aliases.get(word, word))) is not None:
                return found
        found_word = f"found the label {text!r}, which the task does not have"
        if self.names:
            return Wrong(f"{found_word}, nor {self.rule.names} as a number ({len(self.names)} numbers)")
        self._looked_up += 1
        if self._looked_up > _MOST_LOOKED_UP:
            return Wrong(found_word)
        hint = self._several(text) or _meaning_of(text) or did_you_mean(text, [*self.number, *self.aliases])
        return Wrong(found_word + hint)

    def _several(self, text: str) -> str:
        """Propose a separator between whose parts all words are known."""
        for separator in _SEPARATORS:
            parts = _split(text, separator)
            if len(parts) > 1 and all(part in self.number or part in self.aliases for part in parts):
                return f"; these are {len(parts)} of its labels, so set labels.<task>.separator: {separator!r}"
        return ""

    def truth(self, text: str) -> bool | Wrong | None:
        """Return whether a cell says yes or no; None for a code that means "not annotated"."""
        rule = self.rule
        text = text if text in rule.not_annotated else whole_number(text)
        if text in rule.not_annotated:
            return None
        lower = text.lower()
        meaning = rule.values.get(text, rule.values.get(lower, text))
        if meaning is None or isinstance(meaning, bool):
            return meaning
        if meaning is not text:
            text, lower = meaning, meaning.lower()
            if lower in _UNKNOWN:
                return None
        elif rule.threshold is not None:
            return self._reaches(text, rule.threshold)
        if lower in _TRUE or lower in _FALSE:
            return lower in _TRUE
        hint = "; labels.<task>.values says what others mean: {1: yes, -1: no}" if text == "-1" else ""
        return Wrong(f"found {text!r}; expected 1, 0, true, false or empty{hint}")

    def _reaches(self, text: str, threshold: float) -> bool | Wrong | None:
        number = text.removesuffix("%").rstrip()
        try:
            intensity = float(number)
        except ValueError:
            return Wrong(f"found {text!r}; expected a number")
        if number != text and threshold <= 1:
            intensity /= 100
        return None if math.isnan(intensity) else intensity >= threshold


def _meaning_of(text: str) -> str:
    """Say which key a word asks for that stands for nobody's answer, or for a class by its number."""
    if text.lower() in _NOBODYS:
        return f"; if nobody said anything there, set labels.<task>.not_annotated: [{text!r}]"
    if text.isdecimal():
        return "; labels.<task>.names or labels.<task>.values says what numbers mean"
    return ""


def _classes(cells: Any, words: _Words) -> Aligned:
    which, means = meanings(cells, words.place)
    return Aligned(taken_labels(means, which, pa.int32()), wrong_of(means, which), pa.nulls(len(which), pa.string()))


def _split(text: str, separator: str) -> list[str]:
    """Return the parts of a cell, trimmed; a part in quotation marks may hold the separator."""
    if separator == _BLANK:
        text = " ".join(text.split())
    # csv is slower, and takes one character for a separator: only where quotation marks ask for it.
    if '"' in text and len(separator) == 1:
        parts = next(csv.reader([text], delimiter=separator, skipinitialspace=True), [])
    else:
        parts = text.split(separator)
    return [part.strip() for part in parts]


def _parts(text: str, words: _Words) -> list[str]:
    """Return the words of a cell; what is a label as a whole, with a separator in it, is one."""
    separator = words.rule.separator or _BAR
    if text in words.number or text in words.aliases:
        return [text]
    if (listed := listed_words(text)) is not None:
        return listed
    parts = _split(text, separator)
    found: list[str] = []
    start = 0
    while start < len(parts):
        end = start + 1
        if parts[start] not in words.number and parts[start] not in words.aliases:
            # The longest first: of "a|b" and "a|b|c" the cell means the one that leaves less over.
            for longer in range(len(parts), start + 1, -1):
                joined = {f"{separator}{space}".join(parts[start:longer]) for space in ("", " ")}
                if known := joined & (words.number.keys() | words.aliases.keys()):
                    found.append(min(known))
                    start = end = longer
                    break
            else:
                found.append(parts[start])
                start = end
            continue
        found.append(parts[start])
        start = end
    return [part for part in found if part]


def _one_hot(holds: np.ndarray, annotated: np.ndarray, wrong: pa.Array, words: _Words) -> Aligned:
    """Read the one class that holds of columns, a class each."""
    n, how_many = len(holds), holds.sum(axis=1)
    undecided: list[str | None] = [None] * n
    for i in np.flatnonzero(how_many > 1).tolist():
        several = ", ".join(words.vocabulary[k] for k in np.flatnonzero(holds[i])[:4])
        undecided[i] = f"no one class: {how_many[i]} hold ({several})"
    for i in np.flatnonzero((how_many == 0) & annotated.all(axis=1)).tolist():
        undecided[i] = "no one class: none holds"
    labels = pa.array(holds.argmax(axis=1).astype(np.int32), mask=how_many != 1)
    return Aligned(labels, wrong, pa.array(undecided, pa.string()))


def _of_annotators(rule: LabelRule, task: Task, words: _Words, fields: pa.Table, where: object) -> Aligned:
    """Take what more than half of those annotators say who say anything."""
    read = _classes if task.encoding == "class" else _held
    each = [read(column(fields, name, where), words) for name in rule.columns]
    wrong = pa.nulls(fields.num_rows, pa.string())
    for name, aligned in zip(rule.columns, each, strict=True):
        if aligned.wrong.null_count < len(wrong):
            wrong = pc.coalesce(wrong, pc.binary_join_element_wise(f"column {name!r}: ", aligned.wrong, ""))
    votes = zip(*(aligned.labels.to_pylist() for aligned in each), strict=True)
    if task.encoding == "class":
        labels: list[Any] = [majority(row) for row in votes]
    else:
        width = len(task.outputs)
        labels = [
            [majority([vote[k] for vote in row if vote is not None]) for k in range(width)] if any(row) else None
            for row in votes
        ]
    undecided = pa.nulls(len(wrong), pa.string())
    shares = _shares([aligned.labels.to_pylist() for aligned in each], task) if rule.soft else None
    return Aligned(pa.array(labels, label_type(task)), wrong, undecided, shares)


def _shares(each: Sequence[Sequence[Any]], task: Task) -> pa.Array:
    """Return how many of those annotators who say anything say each class or label, null where they agree."""
    rows: list[list[float] | None] = []
    for votes in zip(*each, strict=True):
        said = [vote for vote in votes if vote is not None]
        if task.encoding == "class":
            row = [said.count(k) / len(said) for k in range(len(task.outputs))] if len(set(said)) > 1 else None
        else:
            by_label = [[vote[k] for vote in said if vote[k] is not None] for k in range(len(task.outputs))]
            shares = [sum(of) / len(of) if len(set(of)) > 1 else math.nan for of in by_label]
            row = None if all(map(math.isnan, shares)) else shares
        rows.append(row)
    return pa.array(rows, shares_type(task))


def _with_values(aligned: Aligned, fields: pa.Table, words: _Words, where: object) -> Aligned:
    """Let a column of its own say whether the label that a row names holds; the row says nothing of the others."""
    which, means = meanings(column(fields, str(words.rule.value_column), where), words.truth)
    truths = taken_labels(means, which, pa.bool_())
    width = len(words.vocabulary)
    named = np.array([[False] * width if row is None else row for row in aligned.labels.to_pylist()], dtype=bool)
    named = named.reshape(-1, width) & pc.is_valid(truths).to_numpy(zero_copy_only=False)[:, None]
    holds = named & pc.fill_null(truths, False).to_numpy(zero_copy_only=False)[:, None]
    return replace(
        aligned,
        labels=lists_of_truths(holds, named, np.asarray(~named.any(axis=1))),
        wrong=pc.coalesce(aligned.wrong, wrong_of(means, which)),
    )


def _held(cells: pa.ChunkedArray, words: _Words) -> Aligned:
    """Read columns with the labels that hold: a list, or text with a separator; or a list of L truth values.

    An empty list says that none holds; a cell or a list with nothing in it but codes says that nothing is known.
    """
    rule, vocabulary = words.rule, words.vocabulary
    values = plain_text(cells.combine_chunks())
    if pa.types.is_string(values.type):
        encoded = values.dictionary_encode()
        texts = [text_of(value) for value in encoded.dictionary.to_pylist()]
        lists = pa.array([None if text is None else _parts(text, words) for text in texts], pa.list_(pa.string()))
        values = lists.take(encoded.indices)
    elif not pa.types.is_nested(values.type):  # one label a row, as a number or a truth value
        values = pa.array([None if text_of(v) is None else [v] for v in values.to_pylist()], pa.list_(values.type))
    missing = pc.is_null(values).to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(values.type) or pa.types.is_large_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    flat, parents = plain_text(pc.list_flatten(values)), pc.list_parent_indices(values).to_numpy(zero_copy_only=False)
    numbers = pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)
    if pa.types.is_boolean(flat.type) or (
        numbers and not _are_names(vocabulary, words.names) and _are_truths(flat, rule)
    ):
        return _truths(values, words)
    holds = np.zeros((len(values), len(vocabulary)), dtype=bool)
    wrong = np.full(len(values), None, dtype=object)
    which, means = meanings(flat, words.place)
    place = taken_labels(means, which, pa.int32())
    known = pc.is_valid(place).to_numpy(zero_copy_only=False)
    holds[parents[known], pc.fill_null(place, 0).to_numpy(zero_copy_only=False)[known]] = True
    reasons = wrong_of(means, which)
    for i in np.flatnonzero(pc.is_valid(reasons).to_numpy(zero_copy_only=False)).tolist():
        wrong[parents[i]] = wrong[parents[i]] or reasons[i].as_py()
    says_something = holds.any(axis=1) | np.array([reason is not None for reason in wrong], dtype=bool)
    empty = pc.fill_null(pc.equal(pc.list_value_length(values), 0), False).to_numpy(zero_copy_only=False)
    missing = missing | ~(says_something | empty)
    annotated = np.repeat(~missing[:, None], len(vocabulary), axis=1)
    return _sure(lists_of_truths(holds, annotated, missing), pa.array(wrong.tolist(), pa.string()))


def _sure(labels: pa.Array, wrong: pa.Array) -> Aligned:
    return Aligned(labels, wrong, pa.nulls(len(wrong), pa.string()))


def _truths(values: pa.Array, words: _Words) -> Aligned:
    """Read lists of a truth value a label."""
    width = len(words.vocabulary)
    holds = np.zeros((len(values), width), dtype=bool)
    annotated = np.zeros((len(values), width), dtype=bool)
    wrong: list[str | None] = [None] * len(values)
    for i, row in enumerate(values.to_pylist()):
        truths = [None if (text := text_of(value)) is None else words.truth(text) for value in row or ()]
        if all(truth is None for truth in truths):
            continue
        if len(truths) != width:
            wrong[i] = f"found {len(truths)} truth values; expected {width}, one per label"
            continue
        wrong[i] = next((str(truth) for truth in truths if isinstance(truth, Wrong)), None)
        holds[i] = [truth is True for truth in truths]
        annotated[i] = [truth is not None for truth in truths]
    return _sure(lists_of_truths(holds, annotated, np.asarray(~annotated.any(axis=1))), pa.array(wrong, pa.string()))


def _are_truths(flat: pa.Array, rule: LabelRule) -> bool:
    """Say whether numbers are truth values, not names of labels."""
    texts = {text_of(value) for value in pc.unique(flat).to_pylist()}
    return texts <= {"0", "1", None, *rule.not_annotated} or rule.threshold is not None


def _are_names(vocabulary: Sequence[str], names: Names) -> bool:
    """Say whether labels are called by numbers, so that a list of numbers names them."""
    return bool(names) or all(name.lstrip("-").isdigit() for name in vocabulary)


def _columns(fields: pa.Table, words: _Words, where: object) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Read a column a label; return what holds and what is annotated, bool (n, L), and what is wrong, string (n,)."""
    n = fields.num_rows
    holds = np.zeros((n, len(words.vocabulary)), dtype=bool)
    annotated = np.zeros((n, len(words.vocabulary)), dtype=bool)
    wrong = pa.nulls(n, pa.string())
    others: dict[str, list[str]] = {}
    for alias, name in words.aliases.items():
        others.setdefault(name, []).append(alias)
    there = set(fields.column_names)
    for at, label in enumerate(words.vocabulary):
        name = next((called for called in (label, *others.get(label, ())) if called in there), label)
        which, means = meanings(column(fields, name, where), words.truth)
        truths = taken_labels(means, which, pa.bool_())
        annotated[:, at] = pc.is_valid(truths).to_numpy(zero_copy_only=False)
        holds[:, at] = pc.fill_null(truths, False).to_numpy(zero_copy_only=False)
        here = wrong_of(means, which)
        if here.null_count < n:
            wrong = pc.coalesce(wrong, pc.binary_join_element_wise(f"column {name!r}: ", here, ""))
    return holds, annotated, wrong
