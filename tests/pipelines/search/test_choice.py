"""What is chosen: the best under which no task is worse than alone beyond chance, and what counts as chance."""

import numpy as np
import pytest

from pipelines.case.load import load_case
from pipelines.search.chance import interval
from pipelines.search.choice import choose, difference, pareto_front, value_to_search
from pipelines.search.objective import objective_of
from pipelines.search.records import TrialRecord
from pipelines.search.score import Counts, read_counts, write_counts
from pipelines.search.store import SearchStore

ROWS = 400


def counts_with(digit, traits, seed, objective):
    """Return counts of which a task is right so often; of the labels, one of each is as its share says."""
    draw = np.random.Generator(np.random.PCG64([seed, int(digit * 1000), int(traits * 1000)]))
    right = (draw.random(ROWS) < digit).astype(float)
    hits = (draw.random((ROWS, 6)) < traits).astype(float)
    counts = {
        "digit": np.stack([right, np.ones(ROWS)], axis=1),
        "traits": np.concatenate([hits, 1 - hits], axis=1),
    }
    scores = {
        name: float(of.metric.score(counts[name].sum(axis=0), of.task)) for name, of in objective.measures.items()
    }
    return Counts(scores, counts, dict.fromkeys(counts, np.arange(ROWS)))


def written(store, objective, number, shares, **more):
    """Write the counts of a trial whose tasks are right so often; return its record."""
    by_seed = {}
    for seed in (0, 1):
        counted = counts_with(*shares, 100 * number + seed, objective)
        write_counts(store.trial_folder(number), seed, counted)
        by_seed[seed] = dict(counted.scores)
    scores = {name: (by_seed[0][name] + by_seed[1][name]) / 2 for name in by_seed[0]}
    score = float(objective.value(scores))
    return TrialRecord(number, {}, "finished", score, scores, {}, 2, by_seed, **more)


@pytest.fixture
def trials(tmp_path):
    store, objective = SearchStore(str(tmp_path)), objective_of(load_case("digits"))
    return store, objective, [
        written(store, objective, 0, (0.70, 0.70), origin="baseline", name="naive"),
        written(store, objective, 1, (0.70, 0.80), origin="baseline", name="single-task"),
        written(store, objective, 2, (0.99, 0.60)),  # the best mean, and worse than alone in one task
        written(store, objective, 3, (0.80, 0.79)),
        written(store, objective, 4, (0.75, 0.78)),
    ]  # fmt: skip


def test_safe_passes_over_a_trial_under_which_a_task_is_worse_than_alone(trials):
    store, objective, records = trials
    chosen, reasons, _ = choose(load_case("digits"), objective, records, store)
    assert chosen == 3
    assert list(reasons) == [2]
    assert reasons[2].startswith("traits is worse than its single-task network")


@pytest.mark.parametrize(
    ("kind", "expected"), [("mean", 2), ("digit", 2), ("traits.macro_f1", 3), ("delta_m", 2), ("pareto", 3)]
)
def test_other_objectives_choose_by_what_they_say(trials, kind, expected):
    store, _, records = trials
    case = load_case("digits", [f"tuning.objective={kind}"])
    chosen, _, front = choose(case, objective_of(case), records, store)
    assert chosen == expected
    if kind == "pareto":
        assert set(front) == {2, 3}


def test_a_trial_with_fewer_seeds_is_not_chosen_and_a_failed_one_never(trials):
    store, objective, records = trials
    lucky = TrialRecord(5, {}, "finished", 0.99, {"digit": 0.99, "traits": 0.99}, {}, 1, {0: {}})
    failed = TrialRecord(6, {}, "failed", 1.0, {"digit": 1.0, "traits": 1.0}, {}, 2)
    assert choose(load_case("digits"), objective, [*records, lucky, failed], store)[0] == 3


def test_a_safe_search_values_a_trial_less_where_a_task_is_worse_than_alone(trials):
    _, objective, _ = trials
    case, single = load_case("digits"), {"digit": 0.7, "traits": 0.8}
    safe = value_to_search(case, objective, {"digit": 0.8, "traits": 0.8}, single)
    assert safe == pytest.approx(0.8)
    assert value_to_search(case, objective, {"digit": 1.0, "traits": 0.6}, single) == pytest.approx(0.8 - 0.19)


def test_counts_survive_the_storage_and_give_the_scores_again(trials):
    store, objective, records = trials
    found = read_counts(store.trial_folder(3), 1)
    assert found.scores == records[3].by_seed[1]
    for name, measure in objective.measures.items():
        assert float(measure.metric.score(found.counts[name].sum(axis=0), measure.task)) == found.scores[name]


def test_an_interval_of_a_difference_covers_it_and_is_that_of_inputs_and_seeds(trials):
    _, objective, _ = trials
    case = load_case("digits")
    covered = 0
    for draw in range(40):
        ours, others = (
            [counts_with(share, 0.8, 1000 * draw + 10 * side + seed, objective) for seed in range(3)]
            for side, share in enumerate((0.75, 0.70))
        )
        found = difference(case, objective, ours, others, "digit")
        covered += found.low <= 0.05 <= found.high
    assert covered >= 36, "of 40 intervals of 95 %"
    one = [counts_with(0.75, 0.8, 7, objective)]
    alone = interval(one, objective.measures, lambda scores: scores["digit"], replicates=2000)
    assert (alone.high - alone.low) / 2 == pytest.approx(1.96 * (0.75 * 0.25 / ROWS) ** 0.5, rel=0.1)


def test_the_front_holds_what_no_other_beats():
    scores = [(0.9, 0.1), (0.5, 0.5), (0.4, 0.5), (0.1, 0.9), (0.1, 0.8), (0.5, 0.5)]
    records = [TrialRecord(i, {}, "finished", 0.5, {"a": a, "b": b}) for i, (a, b) in enumerate(scores)]
    assert pareto_front(records) == (0, 1, 3, 5)


def beaten(one, other):
    """Say whether a trial is beaten by another, as the front is defined."""
    pairs = [(score, other.scores[task]) for task, score in one.scores.items()]
    return all(mine <= theirs for mine, theirs in pairs) and any(mine < theirs for mine, theirs in pairs)


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_the_front_is_as_it_is_defined(tasks):
    draw = np.random.Generator(np.random.PCG64(tasks))
    for values in (3, 10**6):  # with many ties, and with none
        scores = draw.integers(values, size=(150, tasks)) / values
        named = [dict(zip("abcde", map(float, of), strict=False)) for of in scores]
        records = [TrialRecord(number, {}, "finished", 0.5, of) for number, of in enumerate(named)]
        expected = [one.number for one in records if not any(beaten(one, other) for other in records)]
        assert list(pareto_front(records)) == expected
    assert pareto_front([]) == ()


def test_the_front_of_ten_thousand_trials_none_of_which_beats_another_is_all_of_them():
    records = [TrialRecord(i, {}, "finished", 0.5, {"a": i / 1e4, "b": 1 - i / 1e4}) for i in range(10_000)]
    assert len(pareto_front(records)) == 10_000
