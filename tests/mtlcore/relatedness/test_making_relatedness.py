"""Every way of making R: tables, hierarchies, counts on prior knowledge, predictions of disjoint data, files."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlcore import (
    HeldOut,
    Multiclass,
    Multilabel,
    Relatedness,
    composed_relatedness,
    expression_to_au,
    load_relatedness,
    relatedness_from_annotations,
    relatedness_from_bins,
    relatedness_from_hierarchy,
    relatedness_from_predictions,
    reversed_relatedness,
    save_relatedness,
)
from mtlcore.relatedness.wilson import wilson_interval

MOOD = Multiclass("mood", ("happy", "sad"))
UNITS = Multilabel("units", ("smile", "frown", "tears"))
SIGN = Multiclass("sign", ("plus", "minus"))
ORDER_OF_TWO = Multiclass("two", ("low", "high"))
PARTS = Multilabel("parts", ("wings", "fins"))


def generator(seed):
    return torch.Generator().manual_seed(seed)


# ---- tables


def test_a_row_may_be_prototypical_and_observational_or_unknown_as_a_whole():
    R = Relatedness.from_rows(
        MOOD, UNITS, {"happy": {"prototypical": ["smile"], "observational": {"tears": 0.1}}, "sad": None}
    )
    assert R.table[0].tolist() == [1.0, 0.0, 0.1]
    assert R.table[1].isnan().all()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prototypical": ["smile"], "observational": {"smile": 0.5}}, "row 'sad': 'smile' is both"),
        ({"prototypical": ["smile"], "tears": 0.5}, "row 'sad': found 'tears' beside 'prototypical'"),
        ({"observational": ["smile"]}, "row 'sad': 'prototypical' is a list"),
        ({"observational": {"smile": "much"}}, "row 'sad', cell 'smile': found 'much'; expected a probability"),
        ({"smile": True}, "row 'sad', cell 'smile': found True"),
        ({"prototypical": ["smil"]}, "row 'sad': 'smil' is not one of 'units'; did you mean 'smile'"),
        ({"observational": {"smile": 1.5}}, "row 'sad', cell 'smile': found 1.5"),
    ],
)
def test_a_wrong_row_is_refused_by_row_cell_and_rule(row, words):
    with pytest.raises(ValueError, match=words):
        Relatedness.from_rows(MOOD, UNITS, {"happy": "smile", "sad": row})


def test_the_published_table_fits_a_task_with_more_and_fewer_names_and_says_what_it_does_not_know():
    mood = Multiclass("mood", ("neutral", "fear", "happiness"))
    units = Multilabel("units", ("AU12", "AU45", "AU1"))
    R = expression_to_au(mood, units)
    assert "PNAS" in R.provenance
    assert R.table[0].isnan().all()
    assert R.table[:, 1].isnan().all()
    assert R.table[1:, [0, 2]].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    with pytest.raises(ValueError, match="task 'sign': found plus, minus; the table has happiness, "):
        expression_to_au(SIGN)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base": torch.zeros(3)}, "found a base; only a multilabel source"),
        ({"support": torch.zeros(2, 2)}, r"the support has shape \(2, 2\)"),
        ({"support": torch.tensor([[0, 1, 2], [0, -1, 2]])}, "row 'sad', cell 'frown': found a support below 0"),
        ({"interval": torch.tensor([0.5, 0.4]).expand(2, 3, 2)}, "row 'happy', cell 'smile': its interval is not"),
        ({"interval": torch.zeros(2, 3)}, r"the interval has shape \(2, 3\); expected \(2, 3, 2\)"),
    ],
)
def test_what_goes_with_a_table_is_checked_at_the_door(fields, words):
    with pytest.raises(ValueError, match=words):
        Relatedness(MOOD, UNITS, torch.zeros(2, 3, dtype=torch.float64), **fields)


@pytest.mark.parametrize(
    ("target", "rows", "base", "words"),
    [
        (UNITS, {"wings": [], "fins": []}, {"smile": 2.0}, "base, cell 'smile': found 2"),
        (UNITS, {"wings": [], "fins": []}, {"smil": 0.5}, "base: 'smil' is not one of 'units'"),
        (SIGN, {"wings": "plus", "fins": "plus"}, {"plus": 0.5}, "base: sums to 0.5"),
        (SIGN, {"wings": "plus", "fins": {"plus": 0.5}}, None, "row 'fins': sums to 0.5"),
        (SIGN, {"wings": "plus"}, None, "lacks a row for label 'fins' of 'parts'"),
        (SIGN, {"wings": "plus", "fin": "plus"}, None, "row 'fin' is not a label of 'parts'; did you mean 'fins'"),
    ],
)
def test_a_multilabel_source_is_checked_by_row_base_cell_and_rule(target, rows, base, words):
    with pytest.raises(ValueError, match=words):
        Relatedness.from_rows(PARTS, target, rows, base)


# ---- bins


@pytest.mark.parametrize("bounds", [[2.0, 5.0], [1.0, 2.0, 4.0, 5.0], [3.0]])
def test_the_table_of_two_binnings_is_what_every_number_shows_and_unknown_where_numbers_differ(bounds):
    numbers, fine = np.linspace(-1, 7, 401), [0.5, 2.0, 3.5, 5.0]
    a = np.searchsorted(fine, numbers, side="right")
    A = Multiclass("a", tuple("abcde"))
    for B, y in (
        (Multiclass("b", tuple("abcde"[: len(bounds) + 1])), np.searchsorted(bounds, numbers, side="right")),
        (Multilabel("b", tuple("abcd"[: len(bounds)])), (numbers[:, None] >= np.array(bounds)).astype(int)),
    ):
        R = relatedness_from_bins(A, B, fine, bounds).table
        for c in range(5):
            of_class = y[a == c] if isinstance(B, Multilabel) else np.eye(len(B.outputs))[y[a == c]]
            shares = of_class.mean(axis=0)
            certain = (shares == 0) | (shares == 1)
            if isinstance(B, Multiclass):
                certain[:] = certain.all()
            assert np.array_equal(R[c].numpy(), np.where(certain, shares, np.nan), equal_nan=True)


@pytest.mark.parametrize(
    ("A", "B", "bins", "words"),
    [
        (Multilabel("a", ("x",)), ORDER_OF_TWO, ([1], [2]), "expected a multiclass one"),
        (ORDER_OF_TWO, ORDER_OF_TWO, ([1, 2], [2]), "expected 1 rising"),
        (ORDER_OF_TWO, Multilabel("b", ("x", "y")), ([1], [2, 1]), "expected 2 rising"),
        (Multiclass("all", ("x",)), ORDER_OF_TWO, ([], [1]), "expected finer bins"),
    ],
)
def test_bins_that_say_nothing_or_do_not_fit_are_refused(A, B, bins, words):
    with pytest.raises(ValueError, match=words):
        relatedness_from_bins(A, B, *bins)


# ---- hierarchies


TREE = {"crow": "corvids", "jay": "corvids", "gull": "larids", "corvids": "songbirds", "larids": "shorebirds"}
SPECIES = Multiclass("species", ("gull", "crow", "jay"))
FAMILY = Multiclass("family", ("corvids", "larids"))
ORDER = Multiclass("order", ("songbirds", "shorebirds"))


def test_levels_composed_are_the_direct_table():
    direct = relatedness_from_hierarchy(SPECIES, ORDER, TREE)
    steps = relatedness_from_hierarchy(SPECIES, FAMILY, TREE), relatedness_from_hierarchy(FAMILY, ORDER, TREE)
    assert torch.equal(composed_relatedness(*steps).table, direct.table)
    assert direct.table.tolist() == [[0, 1], [1, 0], [1, 0]]


def test_composition_keeps_rows_distributions_and_what_is_unknown_unknown():
    nan = math.nan
    first = Relatedness(SPECIES, FAMILY, torch.tensor([[0.3, 0.7], [1.0, 0.0], [nan, nan]], dtype=torch.float64))
    second = Relatedness(FAMILY, UNITS, torch.tensor([[1.0, 0.5, 0.2], [0.0, nan, 0.4]], dtype=torch.float64))
    found = composed_relatedness(first, second).table
    assert found[0, 0] == pytest.approx(0.3)
    assert found[0, 2] == pytest.approx(0.3 * 0.2 + 0.7 * 0.4)
    assert found[0, 1].isnan()
    assert found[1].tolist() == [1.0, 0.5, 0.2]
    assert found[2].isnan().all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: relatedness_from_hierarchy(SPECIES, ORDER, TREE | {"crow": "corvid"}),
            "row 'crow': crow -> corvid has no parent and is no class of 'order'",
        ),
        (
            lambda: relatedness_from_hierarchy(SPECIES, ORDER, TREE | {"corvids": "crow"}),
            "row 'crow': crow -> corvids -> crow goes in a circle",
        ),
        (
            lambda: composed_relatedness(expression_to_au(), expression_to_au()),
            "does not lead to the task that the second starts from",
        ),
        (
            lambda: composed_relatedness(
                Relatedness.from_rows(MOOD, PARTS, {"happy": [], "sad": []}),
                Relatedness.from_rows(PARTS, SIGN, {"wings": "plus", "fins": "plus"}),
            ),
            "the task between is multilabel",
        ),
    ],
)
def test_a_broken_hierarchy_is_told_by_row_and_path(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---- counts and prior tables


def annotated(seed, source, target, n=400):
    draw = np.random.Generator(np.random.PCG64(seed))

    def labels(task):
        k = len(task.outputs)
        return draw.integers(-1, k, n) if isinstance(task, Multiclass) else draw.integers(-1, 2, (n, k))

    return torch.from_numpy(labels(source)), torch.from_numpy(labels(target))


PAIRS = [(MOOD, UNITS), (MOOD, SIGN), (PARTS, UNITS), (PARTS, SIGN)]


def table_between(source, target, seed=0):
    table = torch.rand(len(source.outputs), len(target.outputs), generator=generator(seed), dtype=torch.float64)
    if isinstance(target, Multiclass):
        table = table / table.sum(dim=1, keepdim=True)
    return Relatedness(source, target, table, provenance="a person's table")


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_counts_are_the_posterior_mean_with_the_table_as_pseudo_counts(source, target):
    y_a, y_b = annotated(0, source, target)
    prior, s = table_between(source, target), 7.0
    found = relatedness_from_annotations(y_a, y_b, source, target, a=2, b=3, prior=prior, strength=s)
    of_a = (y_a[:, None] == torch.arange(2)) if isinstance(source, Multiclass) else y_a == 1
    for k in range(len(source.outputs)):
        for c in range(len(target.outputs)):
            if isinstance(target, Multiclass):
                usable, holds, pseudo = of_a[:, k] & (y_b >= 0), y_b == c, 2 * len(target.outputs)
            else:
                usable, holds, pseudo = of_a[:, k] & (y_b[:, c] >= 0), y_b[:, c] == 1, 5
            n = usable.sum().item()
            expected = ((usable & holds).sum().item() + 2 + s * prior.table[k, c].item()) / (n + pseudo + s)
            assert found.table[k, c].item() == pytest.approx(expected, rel=1e-12)
            assert found.support[k, c] == n
            low, high = found.interval[k, c].tolist()
            assert low < expected < high
    assert "a person's table" in found.provenance


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_strength_zero_is_the_data_alone_and_infinite_the_table(source, target):
    y_a, y_b = annotated(1, source, target)
    prior = table_between(source, target)
    alone = relatedness_from_annotations(y_a, y_b, source, target)
    weak = relatedness_from_annotations(y_a, y_b, source, target, prior=prior, strength=0)
    sure = relatedness_from_annotations(y_a, y_b, source, target, prior=prior, strength=math.inf)
    assert torch.equal(weak.table, alone.table)
    assert torch.equal(sure.table, prior.table)
    assert torch.equal(sure.interval[..., 0], prior.table)
    rows = torch.tensor([0.0, math.inf])
    mixed = relatedness_from_annotations(y_a, y_b, source, target, prior=prior, strength=rows)
    assert torch.equal(mixed.table, torch.stack([alone.table[0], prior.table[1]]))


def test_a_cell_with_too_little_support_is_the_tables_or_unknown():
    y_a, y_b = torch.tensor([0] * 20 + [1] * 2), torch.ones(22, 3, dtype=torch.long)
    prior = Relatedness.from_rows(MOOD, UNITS, {"happy": [], "sad": {"smile": 0.25, "frown": None}})
    found = relatedness_from_annotations(y_a, y_b, MOOD, UNITS, prior=prior, strength=5)
    assert found.table[0, 0].item() == pytest.approx(21 / 27)
    assert found.table[1].tolist() == [0.25, pytest.approx(math.nan, nan_ok=True), 0.0]
    assert found.interval[1, 1].isnan().all()
    low, high = found.interval[1, 0].tolist()
    assert low < 0.25 < high


def test_a_multilabel_sources_base_is_counted_where_none_of_its_labels_holds():
    y_a = torch.tensor([[0, 0]] * 30 + [[0, -1]] * 30 + [[1, 0]] * 10)
    y_b = torch.tensor([[1, 0, -1]] * 15 + [[0, 0, -1]] * 15 + [[1, 1, 1]] * 40)
    found = relatedness_from_annotations(y_a, y_b, PARTS, UNITS)
    assert found.base.tolist() == [pytest.approx(16 / 32), pytest.approx(1 / 32), 0.0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"strength": -1.0, "prior": table_between(MOOD, UNITS)}, "strength: found -1"),
        ({"strength": torch.ones(3), "prior": table_between(MOOD, UNITS)}, "strength: found .*one per row of 'mood'"),
        ({"strength": 1.0, "prior": table_between(MOOD, SIGN)}, "prior: found relatedness mood -> sign"),
        ({"confidence": 1.0}, "confidence: found 1.0"),
    ],
)
def test_a_wrong_prior_is_refused(more, words):
    y_a, y_b = annotated(2, MOOD, UNITS)
    with pytest.raises(ValueError, match=words):
        relatedness_from_annotations(y_a, y_b, MOOD, UNITS, **more)


def test_labels_that_are_not_the_tasks_are_refused():
    with pytest.raises(ValueError, match=r"y_A: found the label 2; a label of task 'mood' lies in \[-1, 2\)"):
        relatedness_from_annotations(torch.tensor([2]), torch.zeros(1, 3).long(), MOOD, UNITS)
    with pytest.raises(ValueError, match=r"y_B: found labels of shape \(1, 2\); expected \(1, 3\) for task 'units'"):
        relatedness_from_annotations(torch.tensor([1]), torch.zeros(1, 2).long(), MOOD, UNITS)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    truth, covered = torch.tensor([[0.02, 0.3, 1.0], [0.5, 0.9, 0.0]]), []
    for seed in range(200):
        y_a = torch.randint(0, 2, (120,), generator=generator(seed))
        y_b = (torch.rand(120, 3, generator=generator(seed + 1000)) < truth[y_a]).long()
        interval = relatedness_from_annotations(y_a, y_b, MOOD, UNITS, a=1e-9, b=1e-9).interval
        covered.append((interval[..., 0] <= truth) & (truth <= interval[..., 1]))
    assert 0.92 < torch.stack(covered).double().mean() < 0.995


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1), st.floats(0, 1e6))
def test_wilsons_interval_holds_its_share_and_stays_within_zero_and_one(share, count):
    one = torch.tensor([share], dtype=torch.float64), torch.tensor([count], dtype=torch.float64)
    low, high = wilson_interval(*one)[0].tolist()
    assert 0 <= low <= share <= high <= 1
    if count > 1:
        wide = wilson_interval(*one, confidence=0.99)[0].tolist()
        assert wide[0] <= low + 1e-12
        assert wide[1] >= high - 1e-12


# ---- the reverse of an edge


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.sampled_from(PAIRS))
def test_the_reverse_of_the_reverse_is_the_edge(seed, pair):
    """With priors that are consistent, and R small enough that nothing is clipped."""
    source, target = pair
    draw = generator(seed)
    of_A = torch.rand(2, generator=draw, dtype=torch.float64) * 0.4 + 0.1
    R = table_between(source, target, seed)
    if isinstance(source, Multiclass):
        of_A = of_A / of_A.sum()
        there = reversed_relatedness(R, of_A)
        back = (
            reversed_relatedness(there, of_A @ R.table)
            if isinstance(target, Multiclass)
            else reversed_relatedness(there, of_A @ R.table, of_A)
        )
        torch.testing.assert_close(back.table, R.table, rtol=1e-9, atol=1e-12)
        return
    if isinstance(target, Multiclass):  # a joint distribution of one label and the classes
        joint = of_A[:, None] * R.table
        of_B = joint.sum(dim=0) + torch.rand(2, generator=draw, dtype=torch.float64) * 0
        of_B = torch.maximum(of_B, joint.amax(dim=0)) / torch.maximum(of_B, joint.amax(dim=0)).sum()
        there = Relatedness(target, source, (joint / of_B).t().clamp(max=1.0))
        assert torch.equal(reversed_relatedness(R, of_A, of_B).table, there.table)
        return
    of_B = (of_A[:, None] * R.table).amax(dim=0) + 0.3
    back = reversed_relatedness(reversed_relatedness(R, of_A, of_B), of_B, of_A)
    torch.testing.assert_close(back.table, R.table, rtol=1e-9, atol=1e-12)


def test_the_reverse_of_counts_is_the_count_of_the_reverse():
    """Bayes' rule with the priors of the same inputs: exactly what counting the other way round gives."""
    draw = np.random.Generator(np.random.PCG64(5))
    y_a, y_b = torch.from_numpy(draw.integers(0, 2, 500)), torch.from_numpy(draw.integers(0, 2, (500, 3)))
    tiny = {"a": 1e-9, "b": 1e-9}
    there = relatedness_from_annotations(y_a, y_b, MOOD, UNITS, **tiny)
    back = relatedness_from_annotations(y_b, y_a, UNITS, MOOD, **tiny)
    turned = reversed_relatedness(there, torch.bincount(y_a).double())
    torch.testing.assert_close(turned.table, back.table, rtol=1e-6, atol=1e-8)
    again = reversed_relatedness(turned, y_b.double().mean(dim=0), torch.bincount(y_a).double() / 500)
    torch.testing.assert_close(again.table, there.table, rtol=1e-6, atol=1e-8)


# ---- disjoint data


def noisy(true, confusion, seed):
    """A network that errs by ``confusion`` and gives its choice most of the probability."""
    chosen = torch.multinomial(confusion[true], 1, generator=generator(seed))[:, 0]
    sharp = torch.nn.functional.one_hot(chosen, len(confusion)).double()
    return 0.9 * sharp + 0.1 / len(confusion)


def noisy_labels(true, rate, seed):
    wrong = torch.rand(true.shape, generator=generator(seed)) < rate
    return torch.where(wrong, 1 - true, true).double() * 0.8 + 0.1


class Disjoint:
    """Two disjoint datasets and the predictions of two networks that err, one draw of a known R."""

    CLASSES = Multiclass("A", ("a", "b", "c"))
    LABELS = Multilabel("B", ("l0", "l1", "l2", "l3"))
    TRUTH = torch.tensor([[0.9, 0.1, 0.0, 0.5], [0.2, 1.0, 0.3, 0.0], [0.05, 0.6, 0.95, 0.7]], dtype=torch.float64)
    CONFUSION = torch.tensor([[0.75, 0.15, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]])

    def __init__(self, seed, n=1500):
        def both(k):
            of_A = torch.randint(0, 3, (n,), generator=generator(seed + k))
            return of_A, (torch.rand(n, 4, generator=generator(seed + k + 1)) < self.TRUTH[of_A]).long()

        hidden_A, self.y_B = both(10)
        self.y_A, hidden_B = both(20)
        held_A, held_B = both(30)
        self.given = {
            "p_A": noisy(hidden_A, self.CONFUSION, seed + 40), "y_B": self.y_B,
            "y_A": self.y_A, "p_B": noisy_labels(hidden_B, 0.15, seed + 50),
        }  # fmt: skip
        self.held = {
            "held_out_A": HeldOut(noisy(held_A, self.CONFUSION, seed + 60), held_A),
            "held_out_B": HeldOut(noisy_labels(held_B, 0.15, seed + 70), held_B),
        }

    def covered(self, R):
        return ((R.interval[..., 0] <= self.TRUTH) & (R.interval[..., 1] >= self.TRUTH)).double().mean().item()

    def error(self, R):
        return (R.table - self.TRUTH).abs().mean().item()


@pytest.mark.parametrize("ways", [("p_A", "y_B"), ("y_A", "p_B"), ("p_A", "y_B", "y_A", "p_B")])
def test_corrected_for_the_networks_errors_the_truth_lies_in_the_intervals_of_most_cells(ways):
    raw_covered, covered, raw_error, error = [], [], [], []
    for seed in (0, 1000, 2000):
        of = Disjoint(seed)
        given = {name: of.given[name] for name in ways}
        raw = relatedness_from_predictions(of.CLASSES, of.LABELS, **given, replicates=100)
        found = relatedness_from_predictions(of.CLASSES, of.LABELS, **given, **of.held, replicates=100)
        raw_covered.append(of.covered(raw))
        covered.append(of.covered(found))
        raw_error.append(of.error(raw))
        error.append(of.error(found))
        assert (found.interval[..., 0] <= found.table).all()
        assert (found.table <= found.interval[..., 1]).all()
    assert np.mean(covered) >= 0.85
    assert np.mean(covered) > np.mean(raw_covered) + 0.3, "as counted they are drawn to the base rate"
    assert np.mean(error) < 0.35 * np.mean(raw_error)


def test_for_one_label_the_correction_is_rogan_and_gladens():
    yes_no, one = Multilabel("B", ("l",)), Multiclass("A", ("a",))
    p_B = torch.tensor([[0.9], [0.2], [0.4], [0.7]]).repeat(20, 1)
    held = HeldOut(torch.tensor([[0.9], [0.7], [0.2], [0.1]]), torch.tensor([[1], [1], [0], [0]]))
    found = relatedness_from_predictions(
        one, yes_no, y_A=torch.zeros(80, dtype=torch.long), p_B=p_B, held_out_B=held, replicates=10
    )
    sensitivity, specificity, rate = 0.8, 0.85, 0.55
    assert found.table.item() == pytest.approx((rate + specificity - 1) / (sensitivity + specificity - 1), rel=1e-6)


@pytest.mark.parametrize("target", ["classes", "labels"])
@pytest.mark.parametrize("source", ["classes", "labels"])
def test_every_kind_of_pair_is_recovered_from_disjoint_data(source, target):
    """Both tasks follow a hidden class, so that the networks' errors are independent as the estimate assumes."""
    n, hidden = 4000, torch.randint(0, 2, (4000,), generator=generator(0))
    wrong = torch.tensor([[0.85, 0.15], [0.1, 0.9]])

    def labels(kind, of):
        return of if kind == "classes" else of[:, None]

    def predicted(kind, of, seed):
        return noisy(of, wrong, seed) if kind == "classes" else noisy(of, wrong, seed)[:, 1:]

    A = MOOD if source == "classes" else Multilabel("A", ("k",))
    B = SIGN if target == "classes" else Multilabel("B", ("l",))
    seen_A, seen_B = torch.arange(n) < n // 3, torch.arange(n) >= 2 * n // 3
    held = ~seen_A & ~seen_B
    found = relatedness_from_predictions(
        A, B,
        p_A=predicted(source, hidden[seen_B], 1), y_B=labels(target, hidden[seen_B]),
        y_A=labels(source, hidden[seen_A]), p_B=predicted(target, hidden[seen_A], 2),
        held_out_A=HeldOut(predicted(source, hidden[held], 3), labels(source, hidden[held])),
        held_out_B=HeldOut(predicted(target, hidden[held], 4), labels(target, hidden[held])),
        replicates=50,
    )  # fmt: skip
    truth = torch.eye(2, dtype=torch.float64)
    truth = truth if source == "classes" else truth[1:]
    truth = truth if target == "classes" else truth[:, 1:]
    assert (found.table - truth).abs().max() < 0.04
    if target == "classes":
        assert found.table.sum(dim=1).tolist() == pytest.approx([1.0] * len(truth))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "found nothing; expected p_A with y_B"),
        ({"p_A": torch.rand(4, 2)}, "found p_A; expected p_A with y_B"),
        ({"p_A": torch.rand(4, 3), "y_B": torch.zeros(4, 3)}, r"p_A: found shape \(4, 3\); expected \(4, 2\)"),
        ({"p_A": torch.rand(4, 2) - 2, "y_B": torch.zeros(4, 3)}, "p_A: found numbers outside"),
        ({"p_B": torch.rand(4, 3), "y_A": torch.zeros(4, 3)}, r"y_A: found labels of shape \(4, 3\); expected \(4,\)"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        relatedness_from_predictions(MOOD, UNITS, **given)


def test_a_class_that_is_hardly_predicted_stays_unknown():
    p_A = torch.tensor([[0.99, 0.01]]).repeat(100, 1)
    found = relatedness_from_predictions(MOOD, UNITS, p_A=p_A, y_B=torch.ones(100, 3).long(), replicates=5)
    assert found.table[0].tolist() == [1.0] * 3
    assert found.table[1].isnan().all()
    assert found.interval[1].isnan().all()
    assert found.support[1].tolist() == pytest.approx([1.0] * 3)


# ---- printed, plotted, saved


def test_a_file_gives_back_every_bit(tmp_path):
    y_a, y_b = annotated(3, PARTS, UNITS)
    y_b[:, 1] = -1
    found = relatedness_from_annotations(y_a, y_b, PARTS, UNITS)
    assert found.table.isnan().any()
    for i, R in enumerate((found, expression_to_au(), table_between(MOOD, SIGN))):
        save_relatedness(R, tmp_path / f"{i}.safetensors")
        again = load_relatedness(tmp_path / f"{i}.safetensors")
        assert (again.source, again.target, again.provenance) == (R.source, R.target, R.provenance)
        for name in ("table", "base", "support", "interval"):
            there, back = getattr(R, name), getattr(again, name)
            assert (there is None) == (back is None)
            if there is not None:
                assert there.dtype is back.dtype
                assert there.numpy().tobytes() == back.numpy().tobytes()


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", None])
def test_a_file_that_holds_no_relatedness_is_refused(tmp_path, content):
    import safetensors.torch

    file = tmp_path / "x.safetensors"
    if content is None:
        safetensors.torch.save_file({"table": torch.zeros(2)}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.safetensors: (not a safetensors file|holds no relatedness)"):
        load_relatedness(file)


def test_it_prints_as_a_table_that_tells_what_it_leaves_out():
    text = str(expression_to_au())
    assert text.splitlines()[0].split()[:3] == ["P(action_units", "|", "expression)"]
    assert len({len(line) for line in text.splitlines()}) == 1
    wide = Relatedness(Multiclass("a", tuple(f"c{i}" for i in range(60))), Multilabel("b", ("l",)), torch.zeros(60, 1))
    assert wide.as_text(50).splitlines()[-1] == "... 10 more rows, 0 more columns"


def test_it_plots_every_cell_with_unknown_ones_apart(tmp_path):
    R = Relatedness.from_rows(MOOD, UNITS, {"happy": {"smile": 0.254, "frown": None, "tears": 1e-30}, "sad": "tears"})
    figure = R.plot()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.25", "?", "0.00", "0", "0", "1"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["happy", "sad"]
    assert np.ma.getmaskarray(axes.images[0].get_array()).sum() == 1
    figure.savefig(tmp_path / "R.png")
    assert (tmp_path / "R.png").stat().st_size > 1000


def test_a_notebook_shows_every_cell_and_names_are_no_html():
    odd = Multiclass("mood", ("<b>", "sad"))
    R = Relatedness.from_rows(odd, UNITS, {"<b>": {"smile": 0.254, "frown": None}, "sad": "tears"})
    html = R._repr_html_()
    assert re.findall(r"<td[^>]*>([^<]*)</td>", html) == ["0.25", "?", "0", "0", "0", "1"]
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    wide = Relatedness(Multiclass("a", tuple(f"c{i}" for i in range(60))), Multilabel("b", ("l",)), torch.zeros(60, 1))
    assert "20 more rows, 0 more columns" in wide._repr_html_()
