"""Content-defined chunking: cut a dataset's rows into chunks, one per block, that depend on the rows alone.

Rows stand sorted by id, and a chunk ends after an id whose checksum says so (content-defined chunking, as in
A. Muthitacharoen et al., "A low-bandwidth network file system", SOSP 2001). So the blocks are a function of the rows
alone, whatever was ingested before, and a row that is added changes the chunks near it and no other.
"""

import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

_MOST_ROWS = 2048
_MOST_BYTES = 64 << 20  # of a chunk's inputs: what a task holds at once
_IDS_AT_ONCE = 1 << 16  # as Python's strings, 70 bytes each beside those of Arrow


def rows_per_chunk(bytes_a_row: int) -> int:
    """Return the most rows of a chunk, given the size of one input."""
    return max(16, min(_MOST_ROWS, _MOST_BYTES // bytes_a_row))


@dataclass(frozen=True)
class Chunk:
    """Rows that become one block.

    Attributes:
        key: names the block: a digest of the rows, with their labels and stamps.
        start: the first row's place in the dataset's rows that can be read.
        rows: how many there are.
    """

    key: str
    start: int
    rows: int


def chunk_bounds(ids: pa.ChunkedArray, most: int) -> Iterator[tuple[int, int]]:
    """Yield where chunks begin and end: of ``most`` rows, and not under a fourth of that but for the last.

    Args:
        ids: string, sorted.
        most: rows of a chunk.
    """
    # An end about every half chunk, not within the first quarter: blocks are seldom tiny, and mostly end by content.
    fewest, one_in = most // 4, most // 2
    start = end = 0
    for first in range(0, len(ids), _IDS_AT_ONCE):
        for row_id in ids.slice(first, _IDS_AT_ONCE).to_pylist():
            end += 1
            length = end - start
            if length == most or (length >= fewest and zlib.crc32(row_id.encode()) % one_in == 0):
                yield start, end
                start = end
    if end > start:
        yield start, end


def digest(rows: pa.Table) -> str:
    """Return a digest of rows, whatever pieces of memory they lie in."""
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        # take, unlike slice, leaves nothing of the rows around
        writer.write_table(rows.take(pa.array(range(rows.num_rows), pa.int64())).combine_chunks())
    return hashlib.sha256(stream.getvalue()).hexdigest()[:16]
