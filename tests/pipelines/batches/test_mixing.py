"""Rows are a function of (seed, step): workers share them, no row is used more often than the plan says."""

from collections import Counter

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.base.errors import UserError
from pipelines.batches.batch import batch_sampler, shares_of
from pipelines.batches.mixing_rates import capped, capped_rows, proportional, rows_per_step, temperature, uniform
from pipelines.batches.permutation import permute_indices
from pipelines.batches.sampler import BatchSampler
from pipelines.case.case import Case
from pipelines.case.load import as_yaml, load_case


@given(st.integers(1, 3000), st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3).map(tuple))
def test_a_permutation_reaches_every_row_once(size, key):
    assert sorted(permute_indices(np.arange(size), size, key)) == list(range(size))


def test_a_permutation_of_fifty_million_rows_costs_only_the_rows_asked_for():
    found = permute_indices(np.array([0, 1, 49_999_999]), 50_000_000, (7,))
    assert len(set(found.tolist())) == 3
    assert found.max() < 50_000_000


def test_permutations_look_random():
    """Row 0's place over 4,000 keys: every tenth of the range is about as frequent (chi-square, 9 degrees, 0.1 %)."""
    places = np.array([permute_indices(np.array([0]), 1000, (seed, 1))[0] for seed in range(4000)])
    counts = np.bincount(places // 100, minlength=10)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9
    neighbours = permute_indices(np.arange(1000), 1000, (3,))
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


PLAN = BatchSampler(5, {"small": 7, "large": 50}, {"small": 3, "large": 5})


def test_every_row_is_used_exactly_once_an_epoch():
    used = np.concatenate([PLAN.rows(step)["large"] for step in range(20)])
    assert Counter(used.tolist()) == dict.fromkeys(range(50), 2)
    used = np.concatenate([PLAN.rows(step)["small"] for step in range(7)])
    assert Counter(used.tolist()) == dict.fromkeys(range(7), 3)
    assert PLAN.rows(0)["large"].tolist() != PLAN.rows(10)["large"].tolist()


def test_rows_do_not_depend_on_what_was_asked_before():
    later = PLAN.rows(40)
    again = BatchSampler(5, {"small": 7, "large": 50}, {"small": 3, "large": 5})
    for step in range(40):
        again.rows(step)
    assert {name: rows.tolist() for name, rows in again.rows(40).items()} == {n: r.tolist() for n, r in later.items()}


def test_another_seed_gives_other_rows():
    assert BatchSampler(6, PLAN.sizes, PLAN.per_step).rows(0)["large"].tolist() != PLAN.rows(0)["large"].tolist()


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 11])
def test_workers_share_a_steps_rows_evenly_and_without_overlap(workers):
    for step in range(5):
        parts = [PLAN.worker_rows(step, rank, workers) for rank in range(workers)]
        for name, rows in PLAN.rows(step).items():
            assert sorted(np.concatenate([part[name] for part in parts]).tolist()) == sorted(rows.tolist())
        sizes = [sum(len(rows) for rows in part.values()) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_a_data_set_alone_is_taken_as_in_the_mixture():
    """What a single-task network sees is the joint network's own rows of that dataset."""
    alone = BatchSampler(5, {"large": 50}, {"large": 5})
    assert all(alone.rows(step)["large"].tolist() == PLAN.rows(step)["large"].tolist() for step in range(30))


SIZES = {"tiny": 10, "small": 1000, "large": 100_000}
sizes_and_shares = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 10**7), min_size=n, max_size=n),
        st.lists(st.floats(0.01, 100), min_size=n, max_size=n),
    )
)


def test_temperature_is_proportional_at_one_square_root_at_two_and_goes_to_uniform():
    total = sum(SIZES.values())
    of_one = temperature(SIZES, 1)
    assert {name: of_one[name] / sum(of_one.values()) for name in SIZES} == pytest.approx(
        {name: size / total for name, size in SIZES.items()}
    )
    of_two = temperature(SIZES, 2)
    assert of_two["large"] / of_two["tiny"] == pytest.approx(100)
    assert temperature(SIZES, 1e9) == pytest.approx(uniform(SIZES))
    assert proportional(SIZES) == SIZES


@given(sizes_and_shares, st.floats(1, 50))
def test_a_cap_bounds_repeats_leaves_the_others_in_proportion_and_takes_no_more_than_it_must(drawn, most):
    sizes = {f"d{i}": size for i, size in enumerate(drawn[0])}
    shares = {f"d{i}": share for i, share in enumerate(drawn[1])}
    kept = capped(shares, sizes, most)
    largest = max(shares, key=lambda name: (sizes[name], shares[name]))

    def repeats(of):
        return {name: of[name] / sizes[name] * sizes[largest] / of[largest] for name in of}

    for name, before in repeats(shares).items():
        assert repeats(kept)[name] == pytest.approx(min(before, most))
    free = [name for name, before in repeats(shares).items() if before <= most]
    assert all(kept[name] / kept[largest] == pytest.approx(shares[name] / shares[largest]) for name in free)


def test_whole_rows_keep_the_cap_too_and_one_row_that_is_too_much_is_told():
    sizes = {"small": 1000, "large": 10_000}
    rows = rows_per_step(16, capped({"small": 1, "large": 1}, sizes, 3))
    assert rows == {"small": 4, "large": 12}, "3.7 rows were due, and 4 are gone through 3.3 times"
    assert capped_rows(rows, sizes, 3) == {"small": 3, "large": 13}
    with pytest.raises(ValueError, match=r"'tiny' \(10 rows\) is gone through 714.3 times while 'large'"):
        capped_rows({"tiny": 1, "large": 14}, {"tiny": 10, "large": 100_000}, 3)


@pytest.mark.parametrize(
    ("mixing", "shares"),
    [
        ("proportional", (50, 950)),
        ("null", (50**0.2, 950**0.2)),
        ("temperature", (50**0.2, 950**0.2)),
        ("uniform", (1, 1)),
        ("{kind: temperature, T: 2}", (50**0.5, 950**0.5)),
        ("{digit_pictures: 1, trait_pictures: 3}", (1, 3)),
        ("{kind: shares, shares: {digit_pictures: 1, trait_pictures: 3}}", (1, 3)),
        ("{kind: uniform, max_repeats: 4}", (200, 950)),
        ("{max_repeats: 4}", (200, 950)),
        ("{kind: proportional, max_repeats: 4}", (50, 950)),
    ],
)
def test_every_way_to_write_a_mixture_divides_a_batch_as_it_says_also_after_a_round_trip(mixing, shares):
    case = load_case("digits", [f"training.mixing={mixing}", "training.batch_size=20"])
    again = Case.model_validate(yaml.safe_load(as_yaml(case)))
    sizes = {"digit_pictures": 50, "trait_pictures": 950}
    for one in (case, again):
        found = shares_of(one.training.mixing, sizes)
        assert found["digit_pictures"] / found["trait_pictures"] == pytest.approx(shares[0] / shares[1])
        # whole rows, of which the bound on repeats may take one more
        digit = batch_sampler(one, sizes, 0, ["digit", "traits"]).per_step["digit_pictures"]
        assert abs(digit - max(1, 20 * shares[0] / sum(shares))) <= 1


def test_a_share_may_be_set_alone_and_a_bound_that_one_row_breaks_is_told():
    case = load_case("digits", ["training.mixing.digit_pictures=5"])
    assert case.training.mixing.shares == {"digit_pictures": 5, "trait_pictures": 3}
    case = load_case("digits", ["training.mixing={kind: uniform, max_repeats: 2}", "training.batch_size=8"])
    with pytest.raises(UserError, match=r"training.mixing.max_repeats: found 2; 'digit_pictures' \(50 rows\) is gone"):
        batch_sampler(case, {"digit_pictures": 50, "trait_pictures": 100_000}, 0, ["digit", "traits"])


def test_a_steps_rows_do_not_depend_on_the_steps_that_were_asked_for_before():
    sizes, per_step = {"many": 10_007, "few": 13}, {"many": 300, "few": 7}
    whole = BatchSampler(3, sizes, per_step)
    steps = np.random.Generator(np.random.PCG64(0)).integers(0, 5000, size=40).tolist()
    for step in steps:
        alone = BatchSampler(3, sizes, per_step)
        for name, rows in whole.rows(step).items():
            at = step * per_step[name] + np.arange(per_step[name])
            assert rows.tolist() == alone.rows(step)[name].tolist()
            assert rows.tolist() == [int(alone._permuted(name, np.array([place]))[0]) for place in at]
