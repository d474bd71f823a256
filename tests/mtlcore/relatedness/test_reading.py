"""A table read backwards is Bayes' rule, written out; joined with a head it is the most likely log-linear pool."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlcore import (
    FusionWeights,
    Multiclass,
    Multilabel,
    Relatedness,
    fit_fusion,
    fuse_log_linear,
    read_classes,
    table_evidence,
)
from mtlcore.relatedness import reading

ANIMAL = Multiclass("animal", ("cat", "crow", "gull"))
TRAITS = Multilabel("traits", ("furry", "flies", "black", "swims"))
ORDER = Multiclass("order", ("mammal", "bird"))
DOUBT = 0.1


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def table_of(seed):
    """Return probabilities with zeros, ones and unknown cells among them, (3, 4)."""
    cells = torch.rand(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    cells[cells < 0.2] = 0.0
    cells[cells > 0.8] = 1.0
    cells[0, seed % 4] = torch.nan
    return cells


def written_out(p, R, prior, class_prior):
    """Sum over all label vectors y: pi(c) sum_y prod_l p(y_l | x) P(y_l | c) / pi(y_l), a cell doubted or unknown."""
    scores = torch.zeros(len(p), len(R), dtype=torch.float64)
    for n, c in itertools.product(range(len(p)), range(len(R))):
        cells = list(zip(p[n].tolist(), R[c].tolist(), prior.tolist(), strict=True))
        for y in itertools.product((0, 1), repeat=R.shape[1]):
            term = 1.0
            for holds, (predicted, cell, base) in zip(y, cells, strict=True):
                seen, given_c, before = (v if holds else 1 - v for v in (predicted, cell, base))
                of_class = before if math.isnan(cell) else (1 - DOUBT) * given_c + DOUBT * before
                term *= seen * of_class / before
            scores[n, c] += float(class_prior[c]) * term
    return scores / scores.sum(dim=1, keepdim=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_it_is_bayes_rule_over_all_label_vectors(seed):
    R, z = table_of(seed), 3 * drawn(seed, 2, 4)
    prior = torch.sigmoid(drawn(seed + 1, 4))
    class_prior = torch.softmax(drawn(seed + 2, 3), dim=0)
    found = read_classes(table_evidence(z, Relatedness(ANIMAL, TRAITS, R), prior, DOUBT), class_prior).exp()
    torch.testing.assert_close(found, written_out(torch.sigmoid(z), R, prior, class_prior), rtol=1e-10, atol=1e-12)


def test_a_table_of_few_values_and_one_of_many_are_computed_alike(monkeypatch):
    R = Relatedness(ANIMAL, TRAITS, table_of(3).round(decimals=0))
    z, prior = drawn(4, 50, 4), torch.sigmoid(drawn(5, 4))
    few = table_evidence(z, R, prior)
    monkeypatch.setattr(reading, "_FEW_VALUES", 0)
    monkeypatch.setattr(reading, "_ENTRIES_AT_ONCE", 28)
    torch.testing.assert_close(table_evidence(z, R, prior), few, rtol=1e-12, atol=1e-12)


def test_classes_are_read_from_a_prediction_of_classes_by_the_same_rule():
    R = Relatedness(ANIMAL, ORDER, torch.tensor([[1.0, 0.0], [0.0, 1.0], [torch.nan, torch.nan]], dtype=torch.float64))
    z, prior = drawn(6, 5, 2), torch.tensor([0.3, 0.7], dtype=torch.float64)
    p = z.softmax(dim=1)
    found = table_evidence(z, R, prior, DOUBT)
    expected = torch.stack([p[:, 0] / 0.3, p[:, 1] / 0.7], dim=1)
    torch.testing.assert_close(found[:, :2], (DOUBT + (1 - DOUBT) * expected).log())
    assert (found[:, 2] == 0).all(), "an unknown row says nothing"


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_it_is_finite_for_any_logits_and_tables_of_zeros_and_ones(size):
    R = Relatedness.from_rows(ANIMAL, TRAITS, {"cat": "furry", "crow": ["flies", "black"], "gull": ["flies", "swims"]})
    z = (size * drawn(7, 20, 4)).float()
    evidence = table_evidence(z, R, torch.full((4,), 1e-6))
    for found in (
        read_classes(evidence, torch.ones(3)),
        fuse_log_linear(z[:, :3], evidence, torch.ones(3), FusionWeights()),
    ):
        assert found.isfinite().all()
        torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(20, dtype=torch.float64))


def held_out(seed, of_head, of_table, n=400):
    """Return labels, logits of a head and evidence, of which each is right by so much."""
    y = torch.randint(3, (n,), generator=torch.Generator().manual_seed(seed))
    right = torch.nn.functional.one_hot(y, 3).double()
    return y, of_head * right + drawn(seed + 1, n, 3), of_table * right + drawn(seed + 2, n, 3)


def test_the_fitted_weights_are_the_most_likely_ones_and_what_is_useless_gets_none():
    y, z, e = held_out(0, 1.0, 2.0)

    def loss(head, table):
        found = fuse_log_linear(z, e, torch.ones(3), FusionWeights(head, table))
        return float(-found[torch.arange(len(y)), y].sum()) + ((head - 0.5) ** 2 + (table - 1) ** 2) / 2

    w = fit_fusion(z, e, torch.ones(3), y)
    assert w.table > 1.5 * w.head > 0
    for head, table in itertools.product((-0.01, 0, 0.01), repeat=2):
        assert loss(w.head, w.table) <= loss(w.head + head, w.table + table)
    y, z, e = held_out(1, 1.0, -1.0)
    assert fit_fusion(z, e, torch.ones(3), y).table == 0, "a table that points away from the truth is left out"
    assert fit_fusion(None, e, torch.ones(3), y) == FusionWeights(0.0, 0.0, 0.0)
    assert fit_fusion(z, e, torch.ones(3), torch.full_like(y, -1)) == FusionWeights(), "no label, the defaults"


def test_a_fusion_is_right_more_often_than_either_part():
    y, z, e = held_out(2, 1.0, 1.0, n=4000)
    w = fit_fusion(z[:2000], e[:2000], torch.ones(3), y[:2000])
    fused = fuse_log_linear(z, e, torch.ones(3), w)

    def accuracy(scores):
        return (scores.argmax(dim=1) == y)[2000:].double().mean()

    assert accuracy(fused) > max(accuracy(z), accuracy(e)) + 0.03


def test_a_class_that_no_input_was_labelled_with_is_predicted_by_the_table_whatever_the_head_says():
    seen = torch.tensor([True, True, False])
    z = torch.tensor([[2.0, 0.0, -50.0], [2.0, 0.0, -50.0]])
    e = torch.tensor([[0.0, 0.0, 4.0], [0.0, 1.0, -4.0]], dtype=torch.float64)
    found = fuse_log_linear(z, e, torch.ones(3), FusionWeights(1.0), seen)
    assert found.argmax(dim=1).tolist() == [2, 0]
    torch.testing.assert_close(found[:, 2], read_classes(e, torch.ones(3))[:, 2])
    torch.testing.assert_close((found[:, 0] - found[:, 1]), (z[:, 0] + e[:, 0] - z[:, 1] - e[:, 1]))
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(2, dtype=torch.float64))


def test_what_cannot_be_read_is_refused():
    R = Relatedness.from_rows(TRAITS, ORDER, dict.fromkeys(TRAITS.labels, "bird"))
    with pytest.raises(ValueError, match="'traits' is multilabel"):
        table_evidence(drawn(0, 2, 2), R, torch.full((2,), 0.5))
    R = Relatedness.from_rows(ANIMAL, TRAITS, dict.fromkeys(ANIMAL.classes))
    with pytest.raises(ValueError, match="prior_B"):
        table_evidence(drawn(0, 2, 4), R, torch.zeros(4))
