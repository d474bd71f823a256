"""Blocks of random rows, as an ingest would leave them, for the tests of what reads them."""

import numpy as np
import pyarrow as pa

from mtlcore import Multiclass, Multilabel
from pipelines.base.storage import join
from pipelines.blocks.manifest import BlockEntry, Manifest
from pipelines.blocks.schema import block_schema
from pipelines.blocks.writer import write_block

KIND = Multiclass("kind", ("cat", "dog", "crow"))


def traits(width):
    return Multilabel("traits", tuple(f"t{i}" for i in range(width)))


def block_table(rows, tasks, shape, rng, first=0):
    """A block of random inputs and labels; about a third of the labels, and of the rows' lists, are missing."""
    schema = block_schema(shape, tasks)
    size = int(np.prod(shape))
    inputs = rng.integers(0, 256, rows * size).astype(np.float32 if len(shape) == 1 else np.uint8)
    columns = [
        pa.array([f"row-{first + i:07}" for i in range(rows)]),
        pa.ExtensionArray.from_storage(
            schema.field("input").type, pa.FixedSizeListArray.from_arrays(pa.array(inputs), size)
        ),
    ]
    for task in tasks:
        if isinstance(task, Multiclass):
            values = rng.integers(0, len(task.classes), rows)
            columns.append(pa.array(values, pa.int32(), mask=rng.random(rows) < 1 / 3))
        else:
            width = len(task.labels)
            flat = pa.array(rng.random(rows * width) < 0.5, mask=rng.random(rows * width) < 1 / 3)
            missing = pa.array(rng.random(rows) < 1 / 3)
            columns.append(pa.FixedSizeListArray.from_arrays(flat, width, mask=missing))
    columns += [pa.array(["here"] * rows), pa.array(["train"] * rows)]
    return pa.table(columns, schema=schema)


def write_blocks(folder, tables, name="pets", excluded=()):
    """Write tables as the blocks of a dataset in a folder, a path or a URL; return its manifest."""
    blocks = []
    for i, table in enumerate(tables):
        ids = table["id"].to_pylist() or [""]
        digest = write_block(join(str(folder), f"{i}.arrow"), table)
        blocks.append(BlockEntry(file=f"{i}.arrow", rows=len(table), digest=digest, first=ids[0], last=ids[-1]))
    rows = sum(len(table) for table in tables)
    return Manifest(
        data_set=name,
        split="train",
        fingerprint="0" * 12,
        settings={},
        content_hash="".join(block.digest[:4] for block in blocks),
        rows_in=rows,
        rows=rows,
        quarantined=0,
        shape=tuple(tables[0].schema.field("input").type.shape),
        blocks=tuple(blocks),
        labels={},
        sources={},
        reasons={},
        excluded=tuple(excluded),
    )
