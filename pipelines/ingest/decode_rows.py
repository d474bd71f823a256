"""Read and decode rows outside the ingest, exactly as it does: for prediction, and for pairs of inputs."""

import numpy as np
import pyarrow as pa

from pipelines.base.storage import StorageUnavailableError
from pipelines.blocks.writer import input_type
from pipelines.case.data import DataSet, PictureInput, VectorInput
from pipelines.ingest.boxes import box_list
from pipelines.ingest.decode import decode_input
from pipelines.ingest.make_block import read_inputs, reason_of
from pipelines.sources.source import SourceSettings


def decode_rows(
    rows: pa.Table, source: SourceSettings, declared: PictureInput | VectorInput
) -> tuple[np.ndarray, list[int], list[dict[str, str]]]:
    """Read and decode rows as the ingest does.

    Returns:
        the inputs that can be used, (n, ...); which rows they are; and those that cannot, each with its ``reason``.
    """
    dtype = np.dtype(input_type(declared.shape).to_pandas_dtype())
    inputs = np.empty((len(rows), *declared.shape), dtype)
    ids, sources = rows["id"].to_pylist(), rows["source"].to_pylist()
    kept: list[int] = []
    failed: list[dict[str, str]] = []
    boxes = box_list(rows)
    found = read_inputs(rows, DataSet.model_construct(source=source))
    for i in range(len(rows)):
        try:
            content = next(found)
            if isinstance(content, Exception):
                raise content
            inputs[len(kept)], _ = decode_input(content, declared, boxes[i])
        except Exception as error:  # whatever a broken image raises, the row goes to quarantine
            if isinstance(error, StorageUnavailableError | MemoryError | StopIteration):
                raise
            failed.append({"id": ids[i], "source": sources[i], "reason": reason_of(error)})
            continue
        kept.append(i)
    return inputs[: len(kept)], kept, failed
