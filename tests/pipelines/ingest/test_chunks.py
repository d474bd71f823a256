"""Chunks depend on the rows alone, and a row more or less changes the chunks near it and no other."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.ingest.chunks import chunk_bounds, digest, rows_per_chunk


def chunks(ids, most=64):
    return [tuple(ids[start:end]) for start, end in chunk_bounds(pa.chunked_array([ids], pa.string()), most)]


def names(n, seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    return sorted(f"{rng.integers(1 << 60):015x}" for _ in range(n))


@given(st.lists(st.text(max_size=6), max_size=300, unique=True).map(sorted))
def test_every_row_is_in_one_chunk_and_chunks_keep_their_size(ids):
    found = chunks(ids, most=16)
    assert [one for chunk in found for one in chunk] == ids
    assert all(len(chunk) <= 16 for chunk in found)
    assert all(len(chunk) >= 4 for chunk in found[:-1])


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4999))
def test_a_row_taken_away_leaves_nearly_all_chunks_as_they_are(seed, at):
    ids = names(5000, seed)
    before, after = set(chunks(ids)), set(chunks(ids[:at] + ids[at + 1 :]))
    assert len(after - before) <= 12  # of some 120: those up to the next boundary that both agree on


def test_how_the_ids_lie_in_memory_changes_nothing():
    ids = names(1000)
    pieces = pa.chunked_array([ids[:7], ids[7:600], ids[600:]])
    assert list(chunk_bounds(pieces, 64)) == list(chunk_bounds(pa.chunked_array([ids]), 64))


def test_a_digest_is_of_the_rows_and_of_nothing_around_them():
    table = pa.table({"id": ["a", "b", "c", "d"], "label": [0, None, 2, 3]})
    alone = pa.table({"id": ["b", "c"], "label": pa.array([None, 2], pa.int64())})
    in_pieces = pa.concat_tables([alone.slice(0, 1), alone.slice(1, 1)])
    assert digest(table.slice(1, 2)) == digest(alone) == digest(in_pieces)
    assert digest(table.slice(0, 2)) != digest(alone)
    relabelled = alone.set_column(1, "label", pa.array([1, 2], pa.int64()))
    assert digest(relabelled) != digest(alone)


@pytest.mark.parametrize(
    ("bytes_a_row", "rows"), [(192, 2048), (96 * 96 * 3, 2048), (224 * 224 * 3, 445), (1 << 30, 16)]
)
def test_a_chunk_of_large_inputs_has_fewer_rows(bytes_a_row, rows):
    assert rows_per_chunk(bytes_a_row) == rows
