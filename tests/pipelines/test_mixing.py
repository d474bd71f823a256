"""Rows are a function of (seed, step): workers share them, no row is used more often than the plan says."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.mixing import MixingPlan, rows_per_step
from pipelines.permutation import permuted


@given(st.integers(1, 3000), st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3).map(tuple))
def test_a_permutation_reaches_every_row_once(size, key):
    assert sorted(permuted(np.arange(size), size, key)) == list(range(size))


def test_a_permutation_of_fifty_million_rows_costs_only_the_rows_asked_for():
    found = permuted(np.array([0, 1, 49_999_999]), 50_000_000, (7,))
    assert len(set(found.tolist())) == 3
    assert found.max() < 50_000_000


def test_permutations_look_random():
    """Row 0's place over 4,000 keys: every tenth of the range is about as frequent (chi-square, 9 degrees, 0.1 %)."""
    places = np.array([permuted(np.array([0]), 1000, (seed, 1))[0] for seed in range(4000)])
    counts = np.bincount(places // 100, minlength=10)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9
    neighbours = permuted(np.arange(1000), 1000, (3,))
    assert abs(np.corrcoef(neighbours[:-1], neighbours[1:])[0, 1]) < 0.1


@given(st.integers(1, 5), st.integers(0, 400), st.data())
def test_a_batch_is_divided_in_proportion_and_every_data_set_gets_a_row(sets, more, data):
    shares = {f"d{i}": data.draw(st.floats(0.01, 100)) for i in range(sets)}
    rows = rows_per_step(sets + more, shares)
    assert sum(rows.values()) == sets + more
    assert min(rows.values()) >= 1
    total = sum(shares.values())
    exact = {name: (sets + more) * share / total for name, share in shares.items()}
    if min(exact.values()) >= 1:
        assert all(abs(rows[name] - exact[name]) < 1 for name in shares)


def test_fewer_rows_than_data_sets_is_refused():
    with pytest.raises(ValueError, match="no row for each of 2"):
        rows_per_step(1, {"a": 1, "b": 1})


PLAN = MixingPlan(5, {"small": 7, "large": 50}, {"small": 3, "large": 5})


def test_every_row_is_used_exactly_once_an_epoch():
    used = np.concatenate([PLAN.rows(step)["large"] for step in range(20)])
    assert Counter(used.tolist()) == dict.fromkeys(range(50), 2)
    used = np.concatenate([PLAN.rows(step)["small"] for step in range(7)])
    assert Counter(used.tolist()) == dict.fromkeys(range(7), 3)
    assert PLAN.rows(0)["large"].tolist() != PLAN.rows(10)["large"].tolist()


def test_rows_do_not_depend_on_what_was_asked_before():
    later = PLAN.rows(40)
    again = MixingPlan(5, {"small": 7, "large": 50}, {"small": 3, "large": 5})
    for step in range(40):
        again.rows(step)
    assert {name: rows.tolist() for name, rows in again.rows(40).items()} == {n: r.tolist() for n, r in later.items()}


def test_another_seed_gives_other_rows():
    assert MixingPlan(6, PLAN.sizes, PLAN.per_step).rows(0)["large"].tolist() != PLAN.rows(0)["large"].tolist()


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 11])
def test_workers_share_a_steps_rows_evenly_and_without_overlap(workers):
    for step in range(5):
        parts = [PLAN.worker_rows(step, rank, workers) for rank in range(workers)]
        for name, rows in PLAN.rows(step).items():
            assert sorted(np.concatenate([part[name] for part in parts]).tolist()) == sorted(rows.tolist())
        sizes = [sum(len(rows) for rows in part.values()) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_a_data_set_alone_is_taken_as_in_the_mixture():
    """What a single-task network sees is the joint network's own rows of that data set."""
    alone = MixingPlan(5, {"large": 50}, {"large": 5})
    assert all(alone.rows(step)["large"].tolist() == PLAN.rows(step)["large"].tolist() for step in range(30))
