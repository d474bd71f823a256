"""Write a block atomically, as an Arrow IPC file."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from pipelines.base.atomic import writing_atomically
from pipelines.base.storage import is_remote, write_whole
from pipelines.blocks.write_buffer import WriteBuffer


def input_type(shape: tuple[int, ...]) -> pa.DataType:
    """Return the type of an input's numbers: uint8 of images, float32 of vectors."""
    return pa.float32() if len(shape) == 1 else pa.uint8()


def write_block(url: str, block: pa.Table, memory: WriteBuffer | None = None) -> str:
    """Write a block as one Arrow IPC file, whole or not at all; return a digest of its bytes (XXH3, 128 bits).

    Args:
        url: where to.
        block: what.
        memory: where the file is put together, if there is some that was in use before.
    """
    block = block.combine_chunks()
    # Written once to count its bytes, which copies nothing: a buffer that grows would copy the file again and again.
    counted = pa.MockOutputStream()
    _write_ipc(counted, block)
    size = counted.size()
    content = (memory or WriteBuffer()).at_least(size)[:size]
    _write_ipc(pa.FixedSizeBufferWriter(pa.py_buffer(content)), block)
    if is_remote(url):
        write_whole(url, content)
    else:
        with writing_atomically(Path(url)) as file:
            file.write(content)
    return xxhash.xxh3_128_hexdigest(content)


def _write_ipc(sink: Any, block: pa.Table) -> None:
    with sink, pa.ipc.new_file(sink, block.schema) as writer:
        # One record batch, so that a row's number in the file is its place in the arrays.
        writer.write_table(block, max_chunksize=max(1, len(block)))
