"""Arrow blocks, each written whole or not at all, as an Arrow IPC file."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from pipelines.atomic import writing_atomically
from pipelines.storage import is_remote, write_whole


def input_type(shape: tuple[int, ...]) -> pa.DataType:
    """Return the type of an input's numbers: uint8 of pictures, float32 of vectors."""
    return pa.float32() if len(shape) == 1 else pa.uint8()


def write_block(url: str, block: pa.Table) -> str:
    """Write a block as one Arrow IPC file, whole or not at all; return a digest of its bytes (XXH3, 128 bits)."""
    if is_remote(url):
        buffer = pa.BufferOutputStream()
        _write_ipc(buffer, block)
        content = buffer.getvalue()
        write_whole(url, content)
        return xxhash.xxh3_128_hexdigest(content)
    with writing_atomically(Path(url)) as file:
        with pa.OSFile(file.name, "wb") as sink:  # a Python file would get a copy of every byte
            _write_ipc(sink, block)
        with pa.memory_map(file.name) as written:
            return xxhash.xxh3_128_hexdigest(written.read_buffer())


def _write_ipc(sink: Any, block: pa.Table) -> None:
    with pa.ipc.new_file(sink, block.schema) as writer:
        writer.write_table(block.combine_chunks(), max_chunksize=max(1, len(block)))
