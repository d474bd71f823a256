"""Windows of a table with a time column hold what was measured until then, and no time stands in two parts."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.base.errors import UserError
from pipelines.sources.embedded import write_embedded
from pipelines.sources.list_source import list_source
from pipelines.sources.registry import Source

SOURCE = TypeAdapter(Source)
TABLE = "when,a,b,name\n" + "".join(f"{t},{t * t},{-t},x\n" for t in (3, 0, 1, 2, 5, 4, 6, 7, 8, 9))


def series(**settings):
    given = {"kind": "series", "path": "table.csv", "time_column": "when", "value_columns": ["a", "b"], "window": 2}
    return SOURCE.validate_python(given | settings)


def listed(root, **settings):
    return list_source(str(root), series(**settings))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path


def test_an_input_is_the_window_oldest_first_and_a_target_what_comes_later(root):
    listing = listed(root, horizons=[1, 3], target_columns="a")
    first = listing.rows["vector"][0].as_py()
    assert first == [0, 0, 1, -1], "the table is sorted by time"
    assert len(listing) == 10 - 2 - 3 + 1
    assert listing.fields.column_names == ["time", "a_in_1", "a_rises_in_1", "a_in_3", "a_rises_in_3"]
    assert listing.fields["time"].to_pylist() == [1, 2, 3, 4, 5, 6]
    assert listing.fields["a_in_1"].to_pylist() == [4, 9, 16, 25, 36, 49]
    assert listing.fields["a_in_3"].to_pylist() == [16, 25, 36, 49, 64, 81]
    assert listing.fields["a_rises_in_3"].to_pylist() == [True] * 6
    falling = listed(root, target_columns="b")
    assert falling.fields["b_rises_in_1"].to_pylist() == [False] * len(falling)


def test_no_time_of_a_part_input_or_target_stands_in_another(tmp_path):
    rows = "".join(f"{t},{t}\n" for t in range(100))
    (tmp_path / "table.csv").write_text("when,a\n" + rows)
    seen = {}
    for part in ("train", "validation", "test"):
        listing = listed(tmp_path, value_columns="a", window=5, horizons=[1, 4], part=part, fractions=[0.6, 0.2, 0.2])
        inputs = np.stack(listing.rows["vector"].to_pylist())
        seen[part] = {*inputs.ravel().astype(int).tolist(), *map(int, listing.fields["a_in_4"].to_pylist())}
        assert len(listing) == len(seen[part]) - 5 - 4 + 1
    assert (max(seen["train"]), min(seen["validation"]), min(seen["test"])) == (59, 60, 80)


def test_series_of_groups_are_windows_of_their_own_in_the_same_stretches_of_time(tmp_path):
    table = pa.table({"when": [0, 0, 1, 1, 2, 2, 3, 3], "site": ["x", "y"] * 4, "a": [0.0, 10, 1, 11, 2, 12, 3, 13]})
    pq.write_table(table, tmp_path / "table.parquet")
    listing = listed(tmp_path, path="table.parquet", value_columns="a", group_column="site")
    assert listing.fields["group"].to_pylist() == ["x", "x", "y", "y"]
    assert listing.rows["vector"].to_pylist() == [[0, 1], [1, 2], [10, 11], [11, 12]]
    assert listing.fields["a_in_1"].to_pylist() == [2, 3, 12, 13]
    with pytest.raises(UserError, match="a time stands in two rows"):
        listed(tmp_path, path="table.parquet", value_columns="a")


def test_a_value_that_is_not_there_later_is_not_annotated(tmp_path):
    (tmp_path / "table.csv").write_text("when,a\n0,1\n1,2\n2,\n3,4\n")
    listing = listed(tmp_path, value_columns="a", window=1)
    assert listing.fields["a_in_1"].to_pylist() == [2, None, 4]
    assert listing.fields["a_rises_in_1"].to_pylist() == [True, None, None]


def test_mistakes_are_told(root):
    for settings, words in (
        ({"value_columns": "c"}, "no column 'c'"),
        ({"value_columns": "name"}, "'name' holds string; expected numbers"),
        ({"window": 10}, "found no window of 10 rows"),
        ({"time_column": "wehn"}, "did you mean 'when'"),
    ):
        with pytest.raises(UserError, match=words):
            listed(root, **settings)
    with pytest.raises(ValidationError, match=r"found a sum of 1\.1"):
        series(fractions=[0.9, 0.1, 0.1])


def test_the_embedded_table_is_written_once_and_always_the_same(tmp_path):
    for name in ("first", "second"):
        write_embedded("seasons", str(tmp_path / name))
    table = (tmp_path / "first" / "load.csv").read_text()
    assert table == (tmp_path / "second" / "load.csv").read_text()
    assert table.count("\n") == 2401
    write_embedded("seasons", str(tmp_path / "first"))
