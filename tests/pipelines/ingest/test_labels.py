"""A source's own words become classes, labels and "not annotated"; nothing else does."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlcore import Multiclass, Multilabel
from pipelines.base.errors import UserError
from pipelines.case.data import LabelRule
from pipelines.ingest.labels import align, text_of

EXPRESSION = Multiclass("expression", ("happiness", "sadness", "7"))
UNITS = Multilabel("units", ("AU1", "AU12"))
ALIASES = {"happy": "happiness", "joy": "happiness"}


def rule(where="column", **more):
    return LabelRule(**({"from": where} | ({"column": "c"} if where == "column" else {}) | more))


def aligned(task, values, aliases=None, **more):
    found = align(rule(**more), task, aliases or {}, pa.table({"c": values}), "here")
    return found.labels.to_pylist(), found.wrong.to_pylist()


def test_a_class_is_found_by_its_name_or_an_alias_whatever_surrounds_it():
    labels, wrong = aligned(EXPRESSION, ["happiness", " sadness ", "happy", "joy", "", None, "  "], ALIASES)
    assert labels == [0, 1, 0, 0, None, None, None]
    assert wrong == [None] * 7


@pytest.mark.parametrize("values", [[7, None], [7.0, float("nan")], ["7", ""], pa.array([7, None], pa.int8())])
def test_a_class_called_by_a_number_is_found_in_every_type_of_column(values):
    assert aligned(EXPRESSION, values) == ([2, None], [None, None])


def test_a_word_outside_the_vocabulary_is_wrong_and_names_the_nearest():
    labels, wrong = aligned(EXPRESSION, ["hapiness", "sadness"])
    assert labels == [None, 1]
    assert wrong[0] == "found the label 'hapiness', which the task does not have; did you mean 'happiness'?"
    assert wrong[1] is None


def test_codes_are_not_annotated_where_the_rule_says_so_and_wrong_where_it_does_not():
    codes = ["-1", "999", "sadness"]
    assert aligned(EXPRESSION, codes, not_annotated=("-1", "999")) == ([None, None, 1], [None] * 3)
    assert [bool(one) for one in aligned(EXPRESSION, codes)[1]] == [True, True, False]


def test_labels_that_hold_stand_in_a_list_or_between_bars():
    for values in ([["AU1"], [], None, ["AU12", "AU1"]], ["AU1", "|", "", "AU12| AU1"]):
        labels, wrong = aligned(UNITS, values)
        assert labels == [[True, False], [False, False], None, [True, True]]
        assert wrong == [None] * 4
    assert "found the label 'AU2'" in aligned(UNITS, ["AU1|AU2", ""])[1][0]


def test_a_list_as_wide_as_the_task_holds_truth_values():
    for values in ([[True, False], None, [None, True]], [[1, 0], None, [None, 1]], [[1.0, 0.0], None, [None, 1.0]]):
        assert aligned(UNITS, values) == ([[True, False], None, [None, True]], [None] * 3)
    assert aligned(UNITS, [[True]])[1] == ["found 1 truth values; expected 2, one per label"]


@pytest.mark.parametrize(
    "values",
    [
        [9, float("nan"), 9.0],
        pa.array(["9", "", " 9 "]),
        pa.array(["9", "", "9"]).dictionary_encode(),
        pa.array(["9", "", "9"], pa.large_string()),
        [["9"], [""], [None]],
        [[9], [9], None],
    ],
)
def test_what_says_nothing_is_not_annotated_and_never_no(values):
    assert aligned(UNITS, values, not_annotated=("9",)) == ([None, None, None], [None] * 3)


def test_categories_are_read_as_the_words_that_they_stand_for():
    assert aligned(UNITS, pa.array(["AU1|AU12", "AU1"]).dictionary_encode())[0] == [[True, True], [True, False]]
    assert aligned(EXPRESSION, pa.array(["sadness", "7"]).dictionary_encode())[0] == [1, 2]


def test_a_number_with_a_point_and_nothing_behind_it_is_the_number():
    assert by_columns({"AU1": ["1.0", "0.0"], "AU12": ["-1.0", "1"]}, not_annotated=("-1",)) == (
        [[True, None], [False, True]],
        [None, None],
    )
    assert aligned(EXPRESSION, ["7.0"])[0] == [2]


def test_one_row_of_the_wrong_width_is_wrong_alone():
    labels, wrong = aligned(UNITS, [[1, 0], [1, 0, 1], [0, 1]])
    assert [labels[0], labels[2]] == [[True, False], [False, True]]
    assert [bool(one) for one in wrong] == [False, True, False]


def by_columns(columns, aliases=None, **more):
    found = align(rule("columns", **more), UNITS, aliases or {}, pa.table(columns), "here")
    return found.labels.to_pylist(), found.wrong.to_pylist()


def test_a_column_a_label_holds_true_false_or_nothing():
    columns = {"AU1": ["1", "no", "", "TRUE"], "AU12": [True, None, False, True]}
    assert by_columns(columns) == ([[True, True], [False, None], [None, False], [True, True]], [None] * 4)


def test_intensities_hold_from_the_threshold_on():
    columns = {"AU1": [0, 1, 2, 5, -1], "AU12": ["1.9", "2", "9", "", "2.0"]}
    labels, wrong = by_columns(columns, threshold=2, not_annotated=("9", "-1"))
    assert labels == [[False, False], [False, True], [True, None], [True, None], [None, True]]
    assert wrong == [None] * 5


def test_a_code_is_never_a_label_by_accident():
    labels, wrong = by_columns({"AU1": ["9", "1"], "AU12": ["0", "-1"]})
    assert labels == [[None, False], [True, None]]
    assert wrong == [
        "column 'AU1': found '9'; expected 1, 0, true, false or empty",
        "column 'AU12': found '-1'; expected 1, 0, true, false or empty; "
        "labels.<task>.values says what others mean: {1: yes, -1: no}",
    ]


def test_a_column_may_be_called_by_an_alias_and_a_missing_one_is_told():
    assert by_columns({"AU01": ["1"], "AU12": ["0"]}, {"AU01": "AU1"})[0] == [[True, False]]
    with pytest.raises(UserError, match="here: there is no column 'AU12'; did you mean 'AU1'"):
        by_columns({"AU1": ["1"]})


@given(st.lists(st.one_of(st.none(), st.sampled_from(["happiness", "happy", "sadness", "sad", " 7", ""]))))
def test_a_cell_means_the_same_whatever_stands_around_it(values):
    labels, wrong = aligned(EXPRESSION, pa.array(values, pa.string()), ALIASES)
    alone = {value: aligned(EXPRESSION, pa.array([value], pa.string()), ALIASES) for value in set(values)}
    assert labels == [alone[value][0][0] for value in values]
    assert wrong == [alone[value][1][0] for value in values]


def test_text_of_a_cell():
    assert [text_of(v) for v in (3, 3.0, 3.5, True, " a ", "", None, float("nan"))] == [
        "3", "3", "3.5", "True", "a", None, None, None,
    ]  # fmt: skip
