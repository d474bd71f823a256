"""A relatedness table is checked at the door, and each message names row, cell and rule."""

import math

import numpy as np
import pytest
import torch

from mtlcore import (
    Multiclass,
    Multilabel,
    Relatedness,
    expression_to_au,
    relatedness_from_annotations,
    reversed_relatedness,
)

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


def test_counts_are_the_smoothed_shares_of_inputs_annotated_for_both():
    draw = np.random.Generator(np.random.PCG64(0))
    y_a, y_b = draw.integers(-1, 2, 300), draw.integers(-1, 2, (300, 2))
    found = relatedness_from_annotations(torch.tensor(y_a), torch.tensor(y_b), MOOD, UNITS, a=2, b=3)
    for c in range(2):
        for k in range(2):
            both = (y_a == c) & (y_b[:, k] >= 0)
            assert found.support[c, k] == both.sum()
            expected = (y_b[both, k].sum() + 2) / (both.sum() + 5)
            assert found.table[c, k].item() == pytest.approx(expected, rel=1e-12)


def test_counted_rows_over_classes_sum_to_one_and_rare_classes_stay_unknown():
    y_a = torch.tensor([0] * 40 + [1] * 3 + [-1] * 5)
    y_b = torch.tensor([0, 0, 0, 1] * 10 + [1] * 3 + [0] * 5)
    found = relatedness_from_annotations(y_a, y_b, MOOD, SIGN, least_support=5)
    assert found.table[0].tolist() == pytest.approx([31 / 42, 11 / 42])
    assert found.table[1].isnan().all()


def test_more_data_find_the_table_that_made_them():
    """Counts of 20,000 inputs drawn from a table come within three standard errors of it."""
    R = torch.tensor([[0.9, 0.2], [0.05, 0.6]])
    generator = torch.Generator().manual_seed(0)
    y_a = torch.randint(0, 2, (20_000,), generator=generator)
    y_b = (torch.rand(20_000, 2, generator=generator) < R[y_a]).long()
    found = relatedness_from_annotations(y_a, y_b, MOOD, UNITS).table
    error = (R * (1 - R) / 10_000).sqrt()
    assert ((found - R).abs() < 3 * error).all()


def test_an_edge_turned_round_twice_is_itself():
    table = torch.tensor([[0.7, 0.3], [0.2, 0.8]], dtype=torch.float64)
    there = Relatedness(MOOD, SIGN, table)
    prior = torch.tensor([0.25, 0.75], dtype=torch.float64)
    back = reversed_relatedness(there, prior)
    assert back.table[0, 0].item() == pytest.approx(0.25 * 0.7 / (0.25 * 0.7 + 0.75 * 0.2))
    again = reversed_relatedness(back, prior @ table)
    torch.testing.assert_close(again.table, table)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: reversed_relatedness(
                Relatedness.from_rows(UNITS, MOOD, {"smile": "happy", "frown": "sad"}), torch.ones(2)
            ),
            "target_prior: missing",
        ),
        (
            lambda: reversed_relatedness(
                Relatedness.from_rows(UNITS, MOOD, {"smile": "happy", "frown": "sad"}),
                torch.tensor([0.5, 1.5]),
                torch.ones(2) / 2,
            ),
            "prior: found 1.5 for 'frown'",
        ),
        (lambda: reversed_relatedness(Relatedness(MOOD, SIGN, torch.full((2, 2), math.nan)), torch.ones(2)), "unknown"),
        (
            lambda: reversed_relatedness(Relatedness(MOOD, SIGN, torch.eye(2)), torch.tensor([1.0, -1.0])),
            "prior: found",
        ),
        (lambda: relatedness_from_annotations(torch.zeros(2), torch.zeros(3, 2), MOOD, UNITS), "2 inputs, y_B 3"),
        (lambda: relatedness_from_annotations(torch.zeros(2), torch.zeros(2, 2), MOOD, UNITS, a=0), "a, b: found 0"),
    ],
)
def test_what_cannot_be_counted_or_turned_round_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_published_table_of_expressions_has_its_prototypical_and_observational_units():
    R = expression_to_au()
    cell = {
        (e, u): R.table[i, j].item() for i, e in enumerate(R.source.outputs) for j, u in enumerate(R.target.outputs)
    }
    assert R.table.shape == (6, 17)
    assert sum(value == 1 for value in cell.values()) == 2 + 2 + 4 + 3 + 4 + 3
    assert sum(0 < value < 1 for value in cell.values()) == 1 + 4 + 3 + 3 + 1 + 2
    assert cell["surprise", "AU5"] == 0.66
    assert cell["anger", "AU10"] == 0.26
    assert cell["happiness", "AU4"] == 0
