"""Classes and labels that the case file does not list: from a file, or as they stand in the data."""

import pytest

from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from tests.pipelines.test_numbers import write_case


def case_of(folder, kind, names, cells, key="classes", **rule):
    (folder / "t.csv").write_text("x1,x2,x3,x4,x5,y\n" + "".join(f"1,2,3,4,5,{cell}\n" for cell in cells))
    source = {"kind": "csv", "path": "t.csv", "vector_columns": ["x*"]}
    labels = {"t": {"from": "column", "column": "y"} | rule}
    datasets = {split: {"source": source, "labels": labels, "split": split} for split in ("train", "test")}
    tasks = {"t": {"kind": kind, key: names}}
    file = write_case(folder, tasks=tasks, datasets=datasets, evaluation={}, training={"steps": 1, "batch_size": 2})
    return load_case(str(file))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "crow\ncat\n"),
        ("c.txt", "2 cat\n1 crow\n"),
        ("c.yaml", "[crow, cat]"),
        ("c.json", '{"crow": 0, "cat": 1}'),
    ],
)
def test_classes_stand_in_a_file_beside_the_case(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert case_of(tmp_path, "multiclass", {"file": name}, ["cat", "crow"]).tasks["t"].classes == ("crow", "cat")


def test_classes_are_those_of_the_data_numbers_by_their_size(tmp_path):
    cells = ["10", "9", "", "2.0", "-1", "9"]
    found = case_of(tmp_path, "multiclass", {"from": "data"}, cells, not_annotated=["-1"])
    assert found.tasks["t"].classes == ("2", "9", "10")


def test_labels_are_the_parts_of_the_cells(tmp_path):
    found = case_of(tmp_path, "multilabel", {"from": "data"}, ["b|a", "", "c | b"], key="labels")
    assert found.tasks["t"].labels == ("a", "b", "c")


def test_labels_are_the_words_of_lists_as_pandas_writes_them(tmp_path):
    cells = ["\"['b', 'a']\"", "[]", "['c']"]
    assert case_of(tmp_path, "multilabel", {"from": "data"}, cells, key="labels").tasks["t"].labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("given", "says"),
    [({"file": "gone.txt"}, "cannot be read"), ({"form": "data"}, "expected a list, {file: PATH} or {from: data}")],
)
def test_a_mistake_names_the_task(tmp_path, given, says):
    with pytest.raises(UserError) as error:
        case_of(tmp_path, "multiclass", given, ["a"])
    assert "tasks.t.classes: " in str(error.value)
    assert says in str(error.value)
