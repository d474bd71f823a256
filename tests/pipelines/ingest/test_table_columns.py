"""Columns of tables: taken by name and in one order, encoded by a stated rule, told by name where they cannot be."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.base.errors import UserError
from pipelines.batches.batch import open_readers
from pipelines.batches.measured_scaling import with_measured_scaling
from pipelines.batches.normalize import normalize
from pipelines.case.data import VectorInput
from pipelines.ingest.ingest import ingest
from pipelines.sources.table_columns import TableColumn, encode, resolved
from tests.pipelines.ingest_case import case_of, write

LABELS = {"kind": {"from": "column", "column": "kind"}, "traits": {"from": "columns"}}
INPUT = {
    "kind": "vector",
    "columns": ["weight", {"name": "colour", "categories": ["red", "green"]}, "length"],
    "missing": "mean",
}
ROWS = [("2", "red", "10"), ("", "green", "30"), ("4", "", "50")]


def table_of(rows, names=("weight", "colour", "length"), order=None):
    order = order or range(len(names))
    cells = [",".join([row[i] for i in order] + [("cat", "dog")[n % 2], "1", "0"]) for n, row in enumerate(rows)]
    return "\n".join([",".join([*(names[i] for i in order), "kind", "furry", "flies"]), *cells]) + "\n"


def sets_of(**tables):
    sets = {}
    for name in tables:
        split = {"split": "test"} if name == "test" else {}
        sets[name] = {"source": {"kind": "csv", "path": f"{name}.csv"}, "labels": LABELS} | split
    return sets


def made_case(tmp_path, given=INPUT, **tables):
    for name, text in tables.items():
        write(tmp_path / "data" / f"{name}.csv", text)
    return case_of(tmp_path / "data", tmp_path, sets_of(**tables), "ingest.most_quarantined=1", input=given)


def test_a_table_becomes_numbers_by_name_whatever_the_order_of_its_columns(tmp_path, ray_local):
    case = made_case(tmp_path, learn=table_of(ROWS), test=table_of(ROWS, order=(2, 0, 1)))
    assert case.input.size == 6
    made = ingest(case)
    nan = np.nan
    expected = [[2, 0, 1, 0, 10, 0], [nan, 1, 0, 1, 30, 0], [4, 0, 0, 0, 50, 0]]
    for split in ("train", "test"):
        (reader,) = open_readers(case, made, split).values()
        np.testing.assert_array_equal(reader.gather(np.arange(3)).inputs, np.array(expected, np.float32))
    assert made.manifests["learn"].vector_columns == ("weight", "colour", "length")

    scaled = with_measured_scaling(case, made)
    assert scaled.input.mean == (3.0, 0.0, 0.0, 0.0, 30.0, 0.0), "of the rows for training; categories stay 0 and 1"
    import torch

    values = normalize(torch.tensor(expected, dtype=torch.float32), scaled.input)
    assert values[1, 0] == 0, "a missing value is the mean"
    assert values[1, 1] == 1
    assert values[:, 0].tolist() == [-1.0, 0.0, 1.0]


def test_datasets_whose_columns_differ_are_refused(tmp_path, ray_local):
    plain = {"kind": "vector", "size": 3}
    for names, words in [
        (("weight", "length", "colour"), "the same in another order"),
        (("weight", "color", "length"), "without colour and with color instead"),
    ]:
        for name, columns in (("learn", ("weight", "colour", "length")), ("test", names)):
            write(tmp_path / "data" / f"{name}.csv", table_of([("1", "2", "3")] * 3, columns))
        sets = sets_of(learn="", test="")
        sets["learn"]["source"]["vector_columns"] = ["weight", "colour", "length"]
        sets["test"]["source"]["vector_columns"] = list(names)
        case = case_of(tmp_path / "data", tmp_path, sets, input=plain)
        with pytest.raises(UserError, match=words):
            ingest(case)


def test_a_cell_that_is_no_number_is_told_with_its_column(tmp_path, ray_local):
    rows = [("2", "red", "10"), ("heavy", "red", "10"), ("1", "blue", "10"), ("1", "red", ""), ("1", "red", "1e99")]
    given = INPUT | {"missing": "refuse"}
    made = ingest(made_case(tmp_path, given, learn=table_of(rows), test=table_of(ROWS[:1])))
    assert made.manifests["learn"].rows == 1
    told = pq.read_table(f"{made.folders['learn']}/quarantine.parquet")["reason"].to_pylist()
    assert sorted(told) == [
        "NaN or infinite features: column 'length' holds 1e+99",
        "missing value: column 'length' is empty",
        "no number: column 'weight' holds 'heavy', which is text",
        "unknown category: column 'colour' holds 'blue'; expected one of red, green",
    ]


def test_unscaled_numbers_of_very_different_spread_are_warned_of(tmp_path, ray_local, capsys):
    rows = [(str(i), str(1000 * i), str(i)) for i in range(4)]
    given = {"kind": "vector", "columns": ["weight", "colour", "length"], "mean": 0, "std": 1}
    ingest(made_case(tmp_path, given, learn=table_of(rows), test=table_of(rows)))
    assert "the spread of colour is" in capsys.readouterr().err


def test_parquet_columns_of_numbers_and_text_are_encoded_alike():
    table = pa.table({"a": pa.array([1, None, 3], pa.int16()), "b": [True, False, None], "c": ["1", " 2.5 ", "NA"]})
    columns = resolved(table.column_names, ["b", TableColumn(name="a", missing="mean"), "c"], "table")
    vectors, reasons = encode(table, columns)
    assert vectors[0].as_py() == [1, 1, 0, 1]
    assert vectors[1].as_py()[2] == 1
    assert reasons == [None, None, "missing value: column 'b' is empty"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "size: missing"),
        ({"columns": ["a"], "size": 3}, "the columns come to 1"),
        ({"columns": ["a", "a"]}, "found 'a' twice"),
        ({"columns": ["f_*"]}, "have a pattern"),
        ({"size": 2, "missing": "mean"}, "only with columns"),
    ],
)
def test_an_input_section_that_contradicts_itself_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        VectorInput(kind="vector", **given)
