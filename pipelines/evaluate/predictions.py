"""predictions.parquet: what every arm says of every test input, beside the truth."""

import json
import os
import tempfile
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from mtlcore import Task, answer, decided_class, is_annotated
from pipelines.base.storage import join, write_whole
from pipelines.evaluate.forward import ROWS_AT_ONCE, forward_in_batches
from pipelines.evaluate.task_test import TaskTest
from pipelines.experiment.run import Run

PREDICTIONS = "predictions.parquet"
_ENTRIES_AT_ONCE = 1 << 22  # of a row group: inputs times outputs
SCHEMA = pa.schema(
    [
        ("data_set", pa.string()),
        ("id", pa.string()),
        ("arm", pa.dictionary(pa.int32(), pa.string())),
        ("seed", pa.int64()),
        ("task", pa.dictionary(pa.int32(), pa.string())),
        ("truth", pa.string()),  # the class; null of a multilabel task
        ("truths", pa.list_(pa.int8())),  # a value a label: 1 holds, 0 does not, null not annotated
        ("prediction", pa.string()),  # the most probable class; null of a multilabel task
        ("probabilities", pa.list_(pa.float32())),  # in the order of the task's classes or labels, before calibration
        ("true_numbers", pa.list_(pa.float32())),  # of a regression task, null where not annotated
        ("numbers", pa.list_(pa.float32())),  # of a regression task
    ]
)


def write_predictions(
    folder: str,
    tasks: Mapping[str, Task],
    tested: Mapping[str, TaskTest],
    rows: tuple[list[str], list[str]],
    calibrations: Mapping[str, object],
) -> str:
    """Write predictions.parquet, a row group an arm, seed and task, several of many inputs; return its path.

    It is written to this machine's temporary folder and then sent off whole: it may be larger than memory.

    Args:
        folder: where to.
        tasks: by name.
        tested: by task, with every arm's logits.
        rows: dataset and id of every row of the split.
        calibrations: temperatures by arm and task, a value a seed: kept in the file's metadata.
    """
    outputs = {name: list(task.outputs) for name, task in tasks.items()}
    about = {"kindred": json.dumps({"outputs": outputs, "temperatures": calibrations})}
    data_sets, ids = (pa.array(column, pa.string()) for column in rows)
    file = join(folder, PREDICTIONS)
    with tempfile.TemporaryDirectory() as scratch:
        written = os.path.join(scratch, PREDICTIONS)
        with pq.ParquetWriter(written, SCHEMA.with_metadata(about), compression="zstd") as writer:
            for name, test in tested.items():
                size = ROWS_AT_ONCE * max(1, _ENTRIES_AT_ONCE // (ROWS_AT_ONCE * len(tasks[name].outputs)))
                for run, logits in test.logits.items():
                    for start in range(0, len(logits), size):
                        some = slice(start, start + size)
                        of_some = TaskTest(test.rows[some], test.labels[some], {})
                        at = pa.array(of_some.rows.numpy())
                        table = _table(tasks[name], of_some, logits[some], run, data_sets.take(at), ids.take(at))
                        writer.write_table(table)
        with pa.memory_map(written) as content:
            write_whole(file, content.read_buffer())
    return file


def _table(task: Task, test: TaskTest, logits: Tensor, run: Run, data_sets: pa.Array, ids: pa.Array) -> pa.Table:
    n, width = len(logits), len(task.outputs)
    names = pa.array(task.outputs, pa.string())
    said = _in_batches(task, logits)
    found: dict[str, pa.Array] = {}
    if task.encoding == "numbers":
        known = is_annotated(test.labels).numpy().reshape(-1)
        truth = pa.array(test.labels.numpy().reshape(-1), pa.float32(), mask=~known)
        found = {"true_numbers": _rows_of(truth, n, width), "numbers": _rows_of(_floats(said), n, width)}
    else:
        found["probabilities"] = _rows_of(_floats(said), n, width)
        if task.encoding == "class":
            found["truth"] = names.take(pa.array(test.labels.numpy()))
            found["prediction"] = names.take(pa.array(decided_class(said, task).numpy()))
        else:
            unknown = ~is_annotated(test.labels).numpy().reshape(-1)
            found["truths"] = _rows_of(pa.array(test.labels.numpy().reshape(-1), pa.int8(), mask=unknown), n, width)
    columns = {
        "data_set": data_sets,
        "id": ids,
        "arm": _repeated(run.arm, n),
        "seed": pa.repeat(pa.scalar(run.seed, pa.int64()), n),
        "task": _repeated(task.name, n),
    }
    whole = {field.name: columns.get(field.name, found.get(field.name, pa.nulls(n, field.type))) for field in SCHEMA}
    return pa.table(whole, schema=SCHEMA)


def _floats(values: Tensor) -> pa.Array:
    return pa.array(values.numpy().reshape(-1), pa.float32())


def _in_batches(task: Task, logits: Tensor) -> Tensor:
    """Compute as use does, in batches of one size: vectorised code has a tail of its own, which differs."""
    if not len(logits):
        return logits.new_zeros(0, len(task.outputs))
    return forward_in_batches(lambda z: {"said": answer(z, task)}, logits)["said"]


def _repeated(word: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([word]))


def _rows_of(flat: pa.Array, n: int, width: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * width), flat)
