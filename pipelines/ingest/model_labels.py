"""Pseudo-labels: what a trained model predicted of a dataset's rows, read from the file that prediction has written.

The file lies beside the blocks, named by the model's content and by the rows, and is written before the ingest by
pipelines/use/label_by_models.py, with the code of `kindred predict`.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mtlcore import Task
from pipelines.base.errors import UserError
from pipelines.base.fingerprint import fingerprint
from pipelines.base.storage import join, kind_of, open_file
from pipelines.blocks.label_encoding import arrow_labels, lists_of_truths
from pipelines.blocks.layout import blocks_root
from pipelines.case.case import Case
from pipelines.case.data import LabelRule
from pipelines.ingest.boxes import crop_of, input_of_data_set
from pipelines.ingest.chunks import digest
from pipelines.sources.cells import Aligned
from pipelines.sources.listing import Listing

_FOLDER = "model-labels"
# Raised where the same model and rows are predicted otherwise.
_VERSION = 1
_LEAST = 1e-6  # of a probability, so that log-odds are finite


def asks_for_all(rule: LabelRule, task: Task) -> bool:
    """Say whether a rule needs the probabilities of all classes or labels, beside what is predicted."""
    return rule.soft or (task.encoding == "labels" and rule.threshold is not None)


def predictions_file(case: Case, name: str, rule: LabelRule, listing: Listing, *, full: bool) -> str:
    """Return where a model's predictions of a dataset's rows stand: a Parquet file of `kindred predict`.

    Args:
        case: the case.
        name: the dataset.
        rule: of one of its tasks.
        listing: its rows, selected, whatever its part of a split.
        full: whether all probabilities are in it.
    """
    source = case.datasets[name].source.model_dump(mode="json")
    crop = crop_of(input_of_data_set(case.input, case.datasets[name]))
    cropped = [] if crop is None else [crop.model_dump(mode="json")]
    key = fingerprint([_VERSION, rule.sha256, full, source, digest(listing.rows), *cropped])
    return join(blocks_root(case), _FOLDER, f"{key}.parquet")


def align_predictions(
    rule: LabelRule, task: Task, aliases: Mapping[str, str], ids: pa.ChunkedArray, file: str
) -> Aligned:
    """Read a task's labels from a model's predictions; a row that could not be predicted is not annotated.

    Args:
        rule: which of the model's tasks, and how.
        task: whose labels they become.
        aliases: what the task calls classes or labels that the model calls otherwise.
        ids: of the rows.
        file: of predictions.

    Raises:
        UserError: it is not there.
    """
    if kind_of(file) != "file":
        raise UserError(f"labels from {rule.model} are not there yet; `kindred ingest` asks the model")
    with open_file(file) as opened:
        table = pq.read_table(opened)
    table = table.take(pc.index_in(ids.combine_chunks(), table["id"].combine_chunks()))
    said = rule.task or task.name
    n = len(ids)
    labels = (
        _numbers(table, said, rule, task, aliases)
        if task.encoding == "numbers"
        else _classes(table, said, rule, task, aliases)
        if task.encoding == "class"
        else _labels(table, said, rule, task, aliases)
    )
    return Aligned(labels, pa.nulls(n, pa.string()), pa.nulls(n, pa.string()))


def _classes(table: pa.Table, said: str, rule: LabelRule, task: Task, aliases: Mapping[str, str]) -> pa.Array:
    places = {name: i for i, name in enumerate(task.outputs)}
    encoded = table[said].combine_chunks().dictionary_encode()
    numbers = [places[aliases.get(word, word)] for word in encoded.dictionary.to_pylist()]
    labels = pa.array(numbers, pa.int32()).take(encoded.indices)
    if rule.threshold is None:
        return labels
    sure = pc.greater_equal(table[f"{said}.probability"].combine_chunks(), pa.scalar(rule.threshold, pa.float32()))
    return pc.if_else(sure, labels, None)


def _labels(table: pa.Table, said: str, rule: LabelRule, task: Task, aliases: Mapping[str, str]) -> pa.Array:
    missing = pc.is_null(table["id"]).to_numpy(zero_copy_only=False)
    if rule.threshold is None:
        places = {name: i for i, name in enumerate(task.outputs)}
        holds = np.zeros((len(table), len(task.outputs)), dtype=bool)
        for row, words in enumerate(table[said].to_pylist()):
            holds[row, [places[aliases.get(word, word)] for word in words or ()]] = True
        known = np.repeat(~missing[:, None], len(task.outputs), axis=1)
        return lists_of_truths(holds, known, missing)
    p = _probabilities(table, said, task, aliases)
    holds = p >= np.float32(rule.threshold)
    known = holds | (p <= np.float32(1 - rule.threshold))
    return lists_of_truths(holds, known, np.asarray(~known.any(axis=1)))


def _numbers(table: pa.Table, said: str, rule: LabelRule, task: Task, aliases: Mapping[str, str]) -> pa.Array:
    if rule.soft:
        p = _probabilities(table, said, task, aliases).astype(np.float64)
        of_classes = _about(table)["kinds"][said] != "multilabel"
        p = np.clip(p, _LEAST, 1 - _LEAST)
        # Of one of several classes, log p less its mean: the head's logits over T, which softmax reads but for a
        # constant. Of labels, the logit.
        odds = np.log(p) - np.log(p).mean(axis=1, keepdims=True) if of_classes else np.log(p) - np.log1p(-p)
        return arrow_labels(odds.astype(np.float32), task)
    several = len(task.outputs) > 1
    named = {aliases.get(name, name): name for name in _outputs(table, said)}
    columns = [table[f"{said}.{named[output]}" if several else said] for output in task.outputs]
    numbers = [pc.fill_null(one, float("nan")).to_numpy() for one in columns]
    return arrow_labels(np.stack(numbers, axis=1).astype(np.float32), task)


def _probabilities(table: pa.Table, said: str, task: Task, aliases: Mapping[str, str]) -> np.ndarray:
    """Return the probability of each of a task's outputs in its own order, float32 (n, outputs); NaN of no row."""
    column = table[f"{said}.probabilities"].combine_chunks()
    names = [aliases.get(name, name) for name in _outputs(table, said)]
    p = np.full((len(table), len(names)), np.nan, dtype=np.float32)
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    p[there] = column.drop_null().flatten().to_numpy().reshape(-1, len(names))
    return p[:, [names.index(output) for output in task.outputs]]


def _outputs(table: pa.Table, said: str) -> list[str]:
    """Return the model's own names of a task's outputs, in its order."""
    outputs: list[str] = _about(table)["outputs"][said]
    return outputs


def _about(table: pa.Table) -> Mapping[str, Any]:
    """Return what the file says of the model's tasks: by task, ``outputs`` and ``kinds``."""
    about: Mapping[str, Any] = json.loads(table.schema.metadata[b"kindred"])
    return about
