import heapq

from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.tasks import ChunkToMake, shrinking_parts, small_ones_last

SIZES = st.lists(st.integers(1, 2048), max_size=80)
WORKERS = st.integers(1, 16)


@given(SIZES, WORKERS)
def test_every_chunk_is_in_one_part_and_parts_are_not_large(rows, workers):
    parts = list(shrinking_parts(rows, workers))
    assert [i for part in parts for i in range(len(rows))[part]] == list(range(len(rows)))
    assert all(1 <= part.stop - part.start <= 8 for part in parts)
    assert all(part.stop - part.start == 1 for part in parts[:workers]), "nothing is seen until a part has ended"
    for part in parts:  # no worker is given so much that the others wait for it, but for one chunk
        assert part.stop - part.start == 1 or sum(rows[part]) <= sum(rows[part.start :]) / (2 * workers)


@given(SIZES, st.integers(1, 40))
def test_the_last_chunks_come_by_size(rows, n):
    chunks = [ChunkToMake({"i": i}, size, in_order=False) for i, size in enumerate(rows)]
    found = small_ones_last(chunks, n)
    assert found[:-n] == chunks[:-n]
    assert [chunk.rows for chunk in found[-n:]] == sorted(rows[-n:], reverse=True)
    assert sorted(chunk.given["i"] for chunk in found) == list(range(len(rows)))


@given(st.lists(st.integers(1, 2048), min_size=1, max_size=20), st.integers(1, 40))
def test_chunks_of_compressed_archives_keep_their_order(rows, n):
    chunks = [ChunkToMake({"i": i}, size, in_order=i == len(rows) - 1) for i, size in enumerate(rows)]
    assert small_ones_last(chunks, n) == chunks


def end_of(rows, workers):
    """When the last of some workers ends, each taking the next part when it is free, a row being a unit of time."""
    ends = [0] * workers
    for part in shrinking_parts(rows, workers):
        heapq.heappush(ends, heapq.heappop(ends) + sum(rows[part]))
    return max(ends)


@given(st.lists(st.integers(512, 2048), min_size=20, max_size=80), st.integers(2, 4))
def test_nobody_is_waited_for_longer_than_a_chunk_takes(rows, workers):
    chunks = [ChunkToMake({}, size, in_order=False) for size in rows]
    sizes = [chunk.rows for chunk in small_ones_last(chunks, 4 * workers)]
    assert end_of(sizes, workers) <= sum(rows) / workers + 2048
