"""Numbers in a source's cells become float32 labels, or classes and ordered labels by bins; nothing else does."""

import numpy as np
import pyarrow as pa
import pytest

from mtlcore import Multiclass, Multilabel, Ordinal, Regression
from pipelines.blocks.label_encoding import arrow_labels, label_array
from pipelines.case.data import LabelRule
from pipelines.ingest.finish import count_labels
from pipelines.ingest.labels import align

AGE, AFFECT = Regression("age", ("age",)), Regression("affect", ("valence", "arousal"))


def aligned(task, cells, where="column", aliases=None, **more):
    given = {"from": where} | ({"column": "c"} if where == "column" else {}) | more
    found = align(LabelRule(**given), task, aliases or {}, pa.table(cells), "here")
    return label_array(pa.chunked_array([found.labels]), task), found.wrong.to_pylist()


def same(found, expected):
    return np.array_equal(found, np.array(expected, dtype=np.float32), equal_nan=True)


@pytest.mark.parametrize("cells", [["23", " 4.5 ", "", None, "nan"], [23.0, 4.5, None, None, float("nan")]])
def test_a_number_is_read_from_text_and_from_numbers(cells):
    labels, wrong = aligned(AGE, {"c": cells})
    assert labels.dtype == np.float32
    assert same(labels, [[23], [4.5], [np.nan], [np.nan], [np.nan]])
    assert wrong == [None] * 5


def test_codes_words_and_what_is_no_number():
    labels, wrong = aligned(
        AGE, {"c": ["-1", "adult", "old", "1e2", "inf"]}, not_annotated=("-1",), values={"adult": 40, "?": None}
    )
    assert same(labels[[0, 1, 3]], [[np.nan], [40], [100]])
    assert wrong[0] is wrong[1] is wrong[3] is None
    assert "'old'; expected a number" in wrong[2]
    assert "finite" in wrong[4]


def test_several_numbers_stand_in_columns_or_in_a_list():
    in_columns = aligned(AFFECT, {"v": [0.5, None], "arousal": ["-1", "x"]}, "columns", {"v": "valence"})
    assert same(in_columns[0], [[0.5, -1], [np.nan, np.nan]])
    assert "column 'arousal'" in in_columns[1][1]
    for cells in ([[0.5, -1.0], None, [0.25, None]], ["0.5|-1", "", "0.25|"]):
        labels, wrong = aligned(AFFECT, {"c": cells})
        assert same(labels, [[0.5, -1], [np.nan, np.nan], [0.25, np.nan]])
        assert wrong == [None] * 3
    assert "found 3 numbers; expected 2" in aligned(AFFECT, {"c": [[1.0, 2.0, 3.0]]})[1][0]


def test_annotators_are_averaged_over_those_who_say_something():
    labels, _ = aligned(AGE, {"a": [10, 20, None], "b": ["30", "", None]}, "annotators", columns=["a", "b"])
    assert same(labels, [[20], [20], [np.nan]])


@pytest.mark.parametrize("kind", [Multiclass, Ordinal])
def test_bins_make_classes_that_begin_at_each_of_them(kind):
    task = kind("group", ("child", "adult", "old"))
    labels, wrong = aligned(task, {"c": [17.9, 18, 64, 65, None]}, bins=(18, 65))
    assert labels.tolist() == [0, 1, 1, 2, -1]
    assert wrong == [None] * 5


def test_bins_make_labels_that_hold_in_order():
    task = Multilabel("older", ("than_18", "than_65"))
    labels, _ = aligned(task, {"c": ["17", "18", "65", ""]}, bins=(18, 65))
    assert labels.tolist() == [[0, 0], [1, 0], [1, 1], [-1, -1]]


def test_numbers_survive_the_blocks_type_and_are_counted():
    values = np.array([[1.5, np.nan], [np.nan, np.nan], [3.5, 2.0]], dtype=np.float32)
    column = pa.chunked_array([arrow_labels(values, AFFECT)])
    assert column.null_count == 1
    assert same(label_array(column, AFFECT), values)
    assert same(label_array(column.slice(1), AFFECT), values[1:])
    counts = count_labels(column, AFFECT)
    assert counts.annotated == 2
    assert counts.known == {"valence": 2, "arousal": 1}
    assert counts.mean == {"valence": 2.5, "arousal": 2.0}
    assert counts.spread == {"valence": 1.0, "arousal": 0.0}
