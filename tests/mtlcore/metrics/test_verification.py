"""Verification: what AUC and equal error rate mean, and that the interval is over people."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlcore import verification_difference, verification_scores


def some_pairs(seed, people=6, n=40, decimals=1):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, people, (2, n))
    first[: n // 2] = second[: n // 2]
    return np.round(rng.normal(size=n) + (first == second), decimals), first, second


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_area_is_the_share_of_ordered_couples_and_the_error_rate_lies_where_both_errors_meet(seed):
    alike, first, second = some_pairs(seed)
    same, two = alike[first == second], alike[first != second]
    found = verification_scores(alike, first, second)
    assert found["auc"] == pytest.approx(np.mean((same[:, None] > two) + 0.5 * (same[:, None] == two)))
    thresholds = [*np.unique(alike), np.inf]
    errors = [(np.mean(same < t), np.mean(two >= t)) for t in thresholds]
    nearest = min(abs(missed - false) for missed, false in errors)
    assert any(found["eer"] == pytest.approx((m + f) / 2) and abs(m - f) == pytest.approx(nearest) for m, f in errors)


def test_a_weight_counts_as_that_many_pairs():
    alike, first, second = some_pairs(3)
    times = np.random.default_rng(1).integers(0, 4, len(alike))
    repeated = [np.repeat(one, times) for one in (alike, first, second)]
    weighted = verification_scores(alike, first, second, np.stack([times, np.ones(len(alike))]).astype(float))
    for metric, value in verification_scores(*repeated).items():
        assert weighted[metric][0] == pytest.approx(value)
        assert weighted[metric][1] == pytest.approx(verification_scores(alike, first, second)[metric])


def test_pairs_of_one_kind_alone_say_nothing():
    scores = verification_scores(np.array([0.1, 0.2]), np.array([1, 2]), np.array([1, 2]))
    assert np.isnan(scores["auc"])
    assert np.isnan(scores["eer"])


def test_the_interval_of_a_difference_widens_where_few_people_stand_behind_as_many_pairs():
    def width(people):
        alike, first, second = some_pairs(5, people, 2000, 6)
        noise = np.random.default_rng(2).normal(size=people)[first]  # a person is hard for one of the arms
        found = verification_difference([alike + noise], [alike], first, second, replicates=200)
        assert found.low <= found.value <= found.high
        return found.high - found.low

    assert width(10) > 2 * width(400)


def test_an_arm_does_not_differ_from_itself():
    alike, first, second = some_pairs(7)
    found = verification_difference([alike, -alike], [alike, -alike], first, second, replicates=50)
    assert (found.value, found.low, found.high) == (0, 0, 0)
