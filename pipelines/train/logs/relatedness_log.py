"""Task relatedness measured during training: at which steps, and the table that a run leaves."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtlcore import PairMeasured
from pipelines.base.storage import delete, join, read_bytes, write_whole
from pipelines.case.case import Case
from pipelines.experiment.run import Run

VISIBLE_RELATEDNESS = "visible_relatedness.parquet"
_SCHEMA = pa.schema(
    {
        "step": pa.int64(),
        "a": pa.string(),
        "b": pa.string(),
        "head_sharing": pa.float64(),
        "gradient_agreement": pa.float64(),
    }
)
# A measured step has one more backward pass per task, at most two thirds of a step: one in 100 is under 1 % per task.
_STEPS_A_TASK = 100


def measured_steps(case: Case, run: Run) -> frozenset[int]:
    """Return the steps at which a run is measured: about one in ``logging.relatedness_every``, spread evenly.

    The first and the last are among them, so that one sees where it began and where it came to: a run of less than
    two such distances is measured twice, which may be more than 1 % of so short a run.
    """
    every = case.logging.relatedness_every
    if every == 0 or len(run.tasks) < 2:
        return frozenset()
    steps = case.training.steps
    times = max(2, steps // (every or _STEPS_A_TASK * len(run.tasks)))
    return frozenset(np.linspace(0, steps - 1, times).round().astype(int).tolist())


def write_measured(folder: str, measured: Sequence[PairMeasured]) -> None:
    """Write what a run saw into its folder; none where it looked at nothing."""
    delete(join(folder, VISIBLE_RELATEDNESS))
    if measured:
        table = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist([pair._asdict() for pair in measured], _SCHEMA), table)
        write_whole(join(folder, VISIBLE_RELATEDNESS), table.getvalue().to_pybytes())


def read_measured(folder: str) -> list[PairMeasured]:
    """Read what a run saw; empty where it looked at nothing."""
    try:
        content = read_bytes(join(folder, VISIBLE_RELATEDNESS))
    except FileNotFoundError:
        return []
    return [PairMeasured(**row) for row in pq.read_table(pa.BufferReader(content)).to_pylist()]
