"""Schedule the chunks as Ray Data tasks so that all cores stay busy to the end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.base.storage import StorageUnavailableError
from pipelines.ingest.make_block import Recipe, make_blocks

_CHUNKS_A_TASK = 8
# Given to Ray Data at a time: their rows lie in its memory, some 150 kB a chunk. At the end of each wave processors
# wait for the last task, so it has many chunks for each.
_CHUNKS_AT_ONCE, _CHUNKS_A_PROCESSOR = 1024, 16


@dataclass(frozen=True)
class ChunkToMake:
    """A chunk as a task is given it.

    Attributes:
        given: job and rows, as ``make_blocks`` takes them.
        rows: how many.
        in_order: its archive is decompressed front to back.
    """

    given: dict[str, Any]
    rows: int
    in_order: bool


def chunks_at_once() -> int:
    """Return how many chunks to give to Ray Data at a time, by the processors that there are now."""
    return max(_CHUNKS_AT_ONCE, _CHUNKS_A_PROCESSOR * _processors())


def _processors() -> int:
    import ray

    # Of the cluster as it is now: an autoscaling one grows by tasks that wait, and gets enough of them.
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def make_in_tasks(chunks: Sequence[ChunkToMake], recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Make blocks with Ray Data, several a task: it takes up to a fifth of a second to start a worker on its next.

    Yields:
        what came of each, as ``make_blocks`` returns it, as soon as its task has ended.

    Raises:
        StorageUnavailableError: object storage lets nothing more be read or written.
    """
    import ray
    from ray.data import DataContext

    workers = _processors()
    chunks = small_ones_last(chunks, 4 * workers)
    parts = shrinking_parts([chunk.rows for chunk in chunks], workers)
    tasks = [{"chunks": [chunk.given for chunk in chunks[part]]} for part in parts]
    context = DataContext.get_current().copy()
    # Shares out a cluster among operators. Here is one, which would have a single core until its first second is over.
    context.op_resource_reservation_enabled = False
    with DataContext.current(context):
        made = ray.data.from_items(tasks, override_num_blocks=len(tasks)).flat_map(make_blocks, fn_args=(recipe,))
    for outcome in made.iter_rows():
        # The first such outcome ends the ingest: what else is on its way would wait for the same storage.
        if outcome["unavailable"]:
            raise StorageUnavailableError(outcome["unavailable"])
        yield outcome


def small_ones_last(chunks: Sequence[ChunkToMake], n: int) -> list[ChunkToMake]:
    """Put the last ``n`` chunks in the order of their sizes, so that all workers end together.

    Not those of compressed archives, where a step back decompresses all that is before.
    """
    last = chunks[-n:]
    if any(chunk.in_order for chunk in last):
        return list(chunks)
    return [*chunks[:-n], *sorted(last, key=lambda chunk: -chunk.rows)]


def shrinking_parts(rows: Sequence[int], workers: int) -> Iterator[slice]:
    """Divide chunks of so many rows into parts that grow at first, so that something is soon to be seen, and shrink
    towards the end.

    "Guided self-scheduling", C. Polychronopoulos, D. Kuck, IEEE Transactions on Computers, 1987.
    """
    start, parts, left = 0, 0, sum(rows)
    while start < len(rows):
        end = start + 1
        most = min(_CHUNKS_A_TASK, 1 << min(parts // workers, 10))
        while end < len(rows) and end - start < most and sum(rows[start : end + 1]) <= left / (2 * workers):
            end += 1
        yield slice(start, end)
        left -= sum(rows[start:end])
        start = end
        parts += 1
