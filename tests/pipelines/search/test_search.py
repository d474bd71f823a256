"""The bookkeeping of a search, with trials that train nothing: killed anywhere, it loses and repeats none."""

import tracemalloc
from dataclasses import replace

import pytest

from pipelines.search.store import SearchStore
from tests.pipelines.search.simulated import Events, scores_of, search_of, simulated_case, work


class Killed(BaseException):
    """Nobody catches it, as nobody catches a kill."""


def dying_store(writes, after):
    """A store whose process is killed at a write, before it or after it."""

    class Dying(SearchStore):
        left = writes

        def write_trial(self, record):
            Dying.left -= 1
            if Dying.left == 0 and not after:
                raise Killed
            super().write_trial(record)
            if Dying.left == 0:
                raise Killed

    return Dying


def outcome(search):
    return {of.number: (of.settings, of.state, of.score, of.seeds) for of in search.store.read_trials()}


@pytest.fixture(scope="module")
def case():
    return simulated_case()


@pytest.fixture(scope="module")
def undisturbed(case, tmp_path_factory):
    events = Events()
    search = search_of(case, tmp_path_factory.mktemp("undisturbed"))
    work(search, events, workers=1)
    return outcome(search), events


def test_baselines_and_the_case_as_it_stands_are_scored_with_all_seeds_and_the_best_get_more(undisturbed, case):
    found, events = undisturbed
    assert len(found) == 3 + 12
    assert [found[i][3] for i in range(3)] == [3, 3, 3]
    stopped = [number for number, (_, state, _, _) in found.items() if state == "stopped"]
    assert stopped, "asha ends some"
    finished = [number for number, (_, state, _, _) in found.items() if state == "finished" and number > 2]
    assert {found[number][3] for number in finished[:3]} == {3}, "two or three, and all get all seeds"
    best = max(finished, key=lambda number: found[number][2])
    assert found[best][3] == 3
    fresh = [seed for number, seed in events.scored() if seed > 2]
    assert fresh == [3, 4, 5], "the winner is trained again with seeds that chose nothing"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("writes", [1, 7, 23, 40, 71, 90])
def test_a_search_that_is_killed_at_any_write_ends_as_one_that_never_was(case, undisturbed, tmp_path, writes, after):
    events = Events()
    with pytest.raises(Killed):
        work(search_of(case, tmp_path, store=dying_store(writes, after)), events, workers=1)
    search = search_of(case, tmp_path)
    work(search, events, workers=1)
    expected, undisturbed_events = undisturbed
    assert outcome(search) == expected
    assert len(set(events.scored())) == len(set(undisturbed_events.scored()))
    again = [event for event in set(events.scored()) if events.scored().count(event) > 1]
    assert len(again) <= 1, "only what was being written when it was killed"


def test_several_workers_and_several_kills_lose_and_repeat_no_trial(case, tmp_path):
    events = Events()
    for writes in (5, 31, 12, 44):
        with pytest.raises(Killed):
            work(search_of(case, tmp_path, store=dying_store(writes, True)), events, workers=3)
    search = search_of(case, tmp_path)
    work(search, events, workers=3)
    found = outcome(search)
    assert sorted(found) == list(range(15))
    assert all(state in ("finished", "stopped") for _, state, _, _ in found.values())
    assert all(events.scored().count(event) == 1 for event in events.scored() if event[1] < 3)
    settings = [repr(of[0]) for number, of in found.items() if number > 2]
    assert len(set(settings)) == len(settings), "none is tried twice"


def test_a_finished_search_has_no_work_and_extend_gives_it_some_once(case, tmp_path):
    events = Events()
    search = search_of(case, tmp_path)
    work(search, events)
    search.close(over=True)
    assert not search_of(case, tmp_path).has_work()
    longer = search_of(case, tmp_path, extend=4)
    assert longer.has_work()
    longer.begin()
    # Killed before a trial of the four ended: the same command adds no further four.
    again = search_of(case, tmp_path, extend=4)
    work(again, events)
    assert len(outcome(again)) == 3 + 12 + 4
    again.close(over=True)
    assert not search_of(case, tmp_path).has_work()


def test_a_failed_trial_is_kept_with_its_reason_and_the_search_goes_on(case, tmp_path):
    search, events = search_of(case, tmp_path), Events()
    jobs = [search.next(f"worker-{i}") for i in range(4)]
    assert [job.name for job in jobs] == ["naive", "single-task", "", ""]
    search.failed(jobs[3], "ValueError: the loss is not finite", 1.0)
    for i in range(3):
        search.died(f"worker-{i}")
    work(search, events, workers=4)
    found = search.store.read_trials()
    assert len(found) == 15
    assert (found[3].state, found[3].reason) == ("failed", "ValueError: the loss is not finite")
    assert all(of.state in ("finished", "stopped") for of in found if of.number != 3)
    assert search_of(case, tmp_path).summary().failed == 1


def test_a_trial_that_kills_its_worker_again_and_again_fails(case, tmp_path):
    search = search_of(case, tmp_path)
    for _ in range(3):
        assert search.next("worker").number == 0
        search.died("worker")
    assert search.store.read_trials()[0].reason == "its worker died 3 times, as for want of memory"
    assert search.next("worker").number == 1


def test_no_trial_begins_after_the_budget_and_those_that_began_get_their_seeds(tmp_path):
    clock = [0.0]
    case = simulated_case("tuning.hours=1")
    from pipelines.search.search import Search
    from pipelines.search.tune import space_of

    search = Search(case, space_of(case), SearchStore(str(tmp_path)), now=lambda: clock[0])
    jobs = [search.next(f"worker-{i}") for i in range(5)]
    assert jobs[-1].number == 4
    clock[0] = 3601.0
    assert search.next("worker-5") == "wait"
    for job in jobs:
        for seed in job.seeds:
            search.scored(job, seed, {"digit": 0.5, "traits": 0.5}, {}, 1.0)
    for i in range(5):  # all come back
        search.next(f"worker-{i}")
    found = search.store.read_trials()
    assert [of.number for of in found] == [0, 1, 2, 3, 4]


def test_a_report_that_is_made_again_from_a_checkpoint_changes_nothing(case, tmp_path):
    search = search_of(case, tmp_path)
    job = next(job for i in range(4) if (job := search.next(f"worker-{i}")).number == 3)
    for step in (4, 8, 4, 8, 12):
        assert not search.report(job, step, scores_of(job, 0, step))
    assert [point.step for point in search.store.read_trials()[3].curve] == [4, 8, 12]


def test_memory_of_ten_thousand_trials_stays_that_of_their_settings(tmp_path):
    """What a trial leaves in memory when it has ended is a few hundred bytes, not its curve."""

    class Forgetful(SearchStore):  # the disk is not what is measured
        def write_trial(self, record):
            pass

        def write_state(self, state):
            pass

    case = simulated_case("tuning.search=random", "tuning.trials=1000", "tuning.scheduler=none")
    search = search_of(case, tmp_path, store=Forgetful)
    sizes = {}
    tracemalloc.start()
    try:
        for n in range(3, 1003):
            search._waiting.clear()
            job = search.next("worker")
            for step in range(4, 65, 4):
                search.report(job, step, scores_of(job, 0, step), step == 64)
            search.scored(job, 0, {"digit": 0.5, "traits": 0.5}, scores_of(job, 0, 64), 1.0)
            sizes[n] = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    each = (sizes[1002] - sizes[402]) / 600
    assert each < 6000, f"{each:.0f} bytes a trial"
    assert replace(search.records[900], curve=()).state == "finished"
    assert len(search.records[900].curve) == 1
