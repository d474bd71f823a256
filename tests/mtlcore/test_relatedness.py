"""A relatedness table is checked at the door, and each message names row, cell and rule."""

import math

import pytest
import torch

from mtlcore import Multiclass, Multilabel, Relatedness

MOOD = Multiclass("mood", ("happy", "sad"))
UNITS = Multilabel("units", ("smile", "frown"))
SIGN = Multiclass("sign", ("plus", "minus"))


def test_a_row_may_be_one_label_a_list_or_weights():
    R = Relatedness.from_rows(MOOD, UNITS, {"happy": "smile", "sad": {"frown": 0.6, "smile": None}})
    assert R.table[0].tolist() == [1.0, 0.0]
    assert math.isnan(R.table[1, 0])
    assert R.table[1, 1].item() == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("rows", "target", "words"),
    [
        ({"happy": "smile"}, UNITS, "lacks a row for class 'sad'"),
        ({"hapy": "smile", "sad": []}, UNITS, "row 'hapy' is not a class of 'mood'; did you mean 'happy'"),
        ({"happy": "smil", "sad": []}, UNITS, "row 'happy': 'smil' is not one of 'units'; did you mean 'smile'"),
        ({"happy": {"smile": 1.2}, "sad": []}, UNITS, "row 'happy', cell 'smile': found 1.2"),
        ({"happy": "plus", "sad": {"plus": 0.5, "minus": 0.4}}, SIGN, "row 'sad': sums to 0.9; .* must sum to 1"),
        ({"happy": "plus", "sad": {"plus": None, "minus": 1}}, SIGN, "row 'sad': some cells are unknown"),
    ],
)
def test_a_wrong_table_is_refused_by_row_cell_and_rule(rows, target, words):
    with pytest.raises(ValueError, match=words):
        Relatedness.from_rows(MOOD, target, rows)


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), the tasks need \(2, 2\)"):
        Relatedness(MOOD, UNITS, torch.zeros(2, 3))


@pytest.mark.parametrize(("names", "words"), [((), "has no classes"), (("a", "a"), "named twice: a")])
def test_a_task_needs_distinct_names(names, words):
    with pytest.raises(ValueError, match=words):
        Multiclass("t", names)
