"""Listings: the rows in the order of their ids, however a source gives them."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.listing import ROWS, Listing


def listing_of(ids, pieces):
    """Return rows with such ids, in so many pieces of memory, and a column that says where each stood."""
    rows = {field.name: pa.nulls(len(ids), field.type) for field in ROWS} | {"id": pa.array(ids, pa.string())}
    table, at = pa.table(rows, schema=ROWS), pa.table({"at": pa.array(range(len(ids)), pa.int64())})
    size = max(1, len(ids) // pieces)

    def cut(whole):
        return pa.concat_tables([whole.slice(start, size) for start in range(0, max(1, len(ids)), size)])

    return Listing(cut(table), cut(at), {"a note": 1})


@settings(deadline=None)  # the first example imports
@given(st.lists(st.text("abé", max_size=2), max_size=30), st.integers(1, 5), st.booleans())
def test_rows_are_sorted_by_the_bytes_of_their_ids_and_rows_of_one_id_keep_their_order(ids, pieces, in_order):
    ids = sorted(ids, key=str.encode) if in_order else ids
    found = listing_of(ids, pieces).sorted_by_id()
    expected = sorted(range(len(ids)), key=lambda i: ids[i].encode())
    assert found.fields["at"].to_pylist() == expected
    assert found.rows["id"].to_pylist() == [ids[i] for i in expected]
    assert found.rows.schema == ROWS
    assert found.notes == {"a note": 1}
