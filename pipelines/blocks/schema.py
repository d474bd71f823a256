"""The Arrow schema of a case's blocks, and BLOCK_VERSION.

Columns: ``id`` (string), ``input`` (uint8 tensor CHW, or float32 vector), one per task (see
label_encoding.py; null where not annotated), ``source`` and ``split`` (string).
"""

from collections.abc import Sequence

import pyarrow as pa

from mtlcore import Task
from pipelines.blocks.label_encoding import label_type
from pipelines.blocks.writer import input_type

# Raised whenever the same source, labels and input section come to other blocks than before: blocks of another version
# are made again. tests/pipelines/test_golden_numbers.py fails where it was forgotten.
BLOCK_VERSION = 2


def block_schema(shape: tuple[int, ...], tasks: Sequence[Task]) -> pa.Schema:
    """Return the schema of every block of a case; inputs of three dimensions are images, of one vectors."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("input", pa.fixed_shape_tensor(input_type(shape), shape), nullable=False),
            # Every task has a column in every block, null where the dataset is not labelled for it: one schema a case.
            *(pa.field(task.name, label_type(task)) for task in tasks),
            pa.field("source", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
        ]
    )
