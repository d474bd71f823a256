"""Population-based training: it finds what no constant reaches, the same whoever trains it and however it is killed."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import commands as steps
from pipelines.base.errors import UserError
from pipelines.case.by_step import value_at
from pipelines.case.load import load_case
from pipelines.experiment.run import HISTORY, WEIGHTS, list_runs, read_record
from pipelines.ingest.ingest import ingested
from pipelines.search.conclude import conclude
from pipelines.search.job import fit_here, trial_case, work_here
from pipelines.search.page import render_page
from pipelines.search.population import Population, last_value, lineage, population_of
from pipelines.search.records import CurvePoint, Generation, SearchRecord, TrialRecord
from pipelines.search.search import Job, Search
from pipelines.search.settings import with_case_settings
from pipelines.search.store import SearchStore
from pipelines.search.tune import space_of
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.worker import Worker
from tests.pipelines.search.simulated import Events, search_of
from tests.pipelines.search.simulated import work as work_as
from tests.pipelines.search.test_search import Killed, dying_store

STEPS, EVERY, SEGMENT = 64, 4, 8
KEY = "training.matching.dm.weight"
TRIALS = 12


def population_case(*more):
    settings = [
        f"training.steps={STEPS}",
        f"training.validation.every_steps={EVERY}",
        f"tuning.space={{{KEY}: {{loguniform: [0.03, 3]}}}}",
        "tuning.search=pbt",
        f"tuning.perturb_every={SEGMENT}",
        "tuning.objective=mean",
        f"tuning.trials={TRIALS}",
        "tuning.search_seed=2",
        *more,
    ]
    return load_case("digits", settings)


def gain(weight, step):
    """Return what the four steps before a step are worth: in the first half a weight of 0.1 is best, then one of 1."""
    best = -1 if step <= STEPS // 2 else 0
    return math.exp(-8 * (math.log10(weight) - best) ** 2) * EVERY / STEPS


def worth(value):
    """Return what a run comes to that is trained with a value, which may be one by step, from its beginning on."""
    by_step = {int(step): of for step, of in value.items()} if isinstance(value, dict) else value
    return sum(gain(value_at(by_step, step - 1), step) for step in range(EVERY, STEPS + 1, EVERY))


class Simulated:
    """Does jobs as training would: what a trial is worth is a sum over its steps, kept where it pauses."""

    def __init__(self):
        self.states, self.segments = {}, []

    def __call__(self, search, job, events):
        for seed in job.seeds:
            begin, worth_so_far = 0, 0.0
            if job.begins_from:
                begin = job.begins_from[1]
                worth_so_far = self.states[job.begins_from]
            weight = job.settings.get(KEY, 0.3)
            by_step = {int(step): of for step, of in weight.items()} if isinstance(weight, dict) else weight
            for step in range(begin + EVERY, (job.until or STEPS) + 1, EVERY):
                worth_so_far += gain(value_at(by_step, step - 1), step)
                if job.reports:
                    yield
                    found = {"digit.accuracy": worth_so_far, "traits.macro_f1": worth_so_far}
                    assert not search.report(job, step, found, step == STEPS)
            yield
            if job.until:
                self.states[job.number, job.until] = worth_so_far
                self.segments.append((job.number, job.until))
                search.paused(job, 1.0)
                return
            events.append((job.number, seed, "scored"))
            search.scored(job, seed, {"digit": worth_so_far, "traits": worth_so_far}, {}, 1.0)


def work(search, events=None, workers=3, do=None):
    work_as(search, Events() if events is None else events, workers, do or Simulated())


def outcome(search):
    return {of.number: of.as_dict() | {"seconds": 0, "ended": 0} for of in search.store.read_trials()}


@pytest.fixture(scope="module")
def case():
    return population_case()


@pytest.fixture(scope="module")
def undisturbed(case, tmp_path_factory):
    search = search_of(case, tmp_path_factory.mktemp("undisturbed"))
    work(search, workers=1)
    return search


def suggested(search):
    return [of for of in search.store.read_trials() if of.origin == "suggested"]


def test_it_finds_a_schedule_that_no_constant_reaches(undisturbed, case):
    constants = [worth(10**exponent) for exponent in np.linspace(-1.6, 0.5, 200)]
    found = suggested(undisturbed)
    assert len(found) == TRIALS
    assert all(of.state == "finished" for of in found)
    best = max(found, key=lambda of: of.score)
    assert best.score > 1.2 * max(constants)
    tried = with_case_settings(case, best.settings)
    assert isinstance(tried.arms["co-trained"].matching.dm.weight, dict)
    early, late = (value_at(tried.training.matching.dm.weight, step) for step in (0, STEPS - 1))
    assert early < 0.3 < late


def test_what_a_trial_comes_to_is_what_its_settings_by_step_come_to_from_the_beginning_on(undisturbed):
    for of in suggested(undisturbed):
        assert of.score == pytest.approx(worth(of.settings[KEY]), abs=1e-12)
        assert [point.step for point in of.curve] == list(range(EVERY, STEPS + 1, EVERY))
        assert of.curve[-1].score == pytest.approx(of.score)


def test_at_the_end_of_each_segment_a_quarter_goes_on_from_the_best_quarter(undisturbed):
    found = suggested(undisturbed)
    for i, step in enumerate(range(SEGMENT, STEPS, SEGMENT)):
        ends = {of.number: of.generations[i] for of in found}
        assert {of.step for of in ends.values()} == {step}
        moved = {number: of.parent for number, of in ends.items() if of.parent != number}
        ranked = sorted(ends, key=lambda number: -ends[number].score)
        assert set(moved) == set(ranked[-TRIALS // 4 :])
        assert set(moved.values()) <= set(ranked[: TRIALS // 4])


def test_the_winner_is_trained_again_with_further_and_fresh_seeds_from_the_beginning(case, tmp_path):
    search, events = search_of(case, tmp_path), Events()
    work(search, events)
    fresh = [event for event in events.scored() if event[1] > 2]
    assert [seed for _, seed in fresh] == [3, 4, 5]
    best = max(suggested(search), key=lambda of: (of.seeds, of.score))
    assert {number for number, _ in fresh} == {best.number}
    assert best.seeds == 3


@pytest.mark.parametrize("workers", [5, 30])
def test_it_is_the_same_however_many_trials_run_at_once(case, undisturbed, tmp_path, workers):
    search = search_of(case, tmp_path)
    work(search, workers=workers)
    assert outcome(search) == outcome(undisturbed)


@pytest.mark.parametrize(("writes", "after"), [(1, True), (37, False), (64, True), (83, False), (230, True)])
def test_killed_at_any_write_it_ends_as_one_that_never_was(case, undisturbed, tmp_path, writes, after):
    do = Simulated()  # what the storage keeps outlives the process
    with pytest.raises(Killed):
        work(search_of(case, tmp_path, store=dying_store(writes, after)), workers=1, do=do)
    search = search_of(case, tmp_path)
    work(search, workers=3, do=do)
    assert outcome(search) == outcome(undisturbed)
    assert len(do.segments) <= len(set(do.segments)) + 1, "no segment is trained twice but the one that was killed"


def test_a_trial_whose_record_is_lost_is_made_again_and_catches_up(case, tmp_path):
    do = Simulated()
    with pytest.raises(Killed):
        work(search_of(case, tmp_path, store=dying_store(230, True)), workers=1, do=do)
    search = search_of(case, tmp_path)
    lost = next(of for of in suggested(search) if len(of.generations) > 1)
    Path(f"{search.store.trial_folder(lost.number)}.json").unlink()
    search = search_of(case, tmp_path)
    work(search, do=do)
    assert [of.state for of in suggested(search)] == ["finished"] * TRIALS
    assert {of.generations[-1].step for of in suggested(search)} == {STEPS - SEGMENT}


def test_a_kill_while_it_is_written_who_goes_on_from_whom_lets_none_go_on_before_all_know(case, undisturbed, tmp_path):
    class Dying(dying_store(10**9, True)):
        left = 2  # of those that take another's state

        def write_trial(self, record):
            super().write_trial(record)
            if record.generations and record.generations[-1].parent not in (None, record.number):
                Dying.left -= 1
                if Dying.left == 0:
                    raise Killed

    do = Simulated()
    with pytest.raises(Killed):
        work(search_of(case, tmp_path, store=Dying), workers=4, do=do)
    known = [of.generations[-1].parent is not None for of in suggested(search_of(case, tmp_path))]
    assert any(known)
    assert not all(known)
    search = search_of(case, tmp_path)
    assert not [job for job in search._waiting if job.name == "" and job.number > 2]
    work(search, workers=4, do=do)
    assert outcome(search) == outcome(undisturbed)


def test_a_trial_that_fails_leaves_the_population_and_the_others_go_on(case, tmp_path):
    class Failing(Simulated):
        def __call__(self, search, job, events):
            if job.number in (4, 9) and job.begins_from and job.begins_from[1] == 2 * SEGMENT:
                yield
                search.failed(job, "ValueError: the loss is not finite", 1.0)
                return
            yield from super().__call__(search, job, events)

    search = search_of(case, tmp_path)
    work(search, do=Failing())
    found = suggested(search)
    assert {of.number for of in found if of.state == "failed"} == {4, 9}
    left = [of for of in found if of.state == "finished"]
    assert len(left) == TRIALS - 2
    last = [of.generations[-1] for of in left]
    assert {of.step for of in last} == {STEPS - SEGMENT}
    assert sum(of.parent != trial.number for of, trial in zip(last, left, strict=True)) == (TRIALS - 2) // 4


def test_a_worker_that_dies_does_its_segment_again_and_none_that_it_has_told_of(case, tmp_path):
    search = search_of(case, tmp_path)
    jobs = [search.next(f"worker-{i}") for i in range(4)]
    job = jobs[3]
    assert (job.number, job.begins_from, job.until) == (3, None, SEGMENT)
    search.report(job, 4, {"digit.accuracy": 0.1, "traits.macro_f1": 0.1})
    search.died("worker-3")
    assert search.next("worker-3") == job
    for step in (4, 8):
        search.report(job, step, {"digit.accuracy": 0.1, "traits.macro_f1": 0.1})
    search.paused(job, 1.0)
    search.died("worker-3")
    assert search.next("worker-3").number == 4
    assert search.records[3].generations == (Generation(SEGMENT, pytest.approx(0.1)),)


def test_values_move_within_their_ranges_and_never_stay_where_their_trial_came_from():
    from pipelines.case.search_parameters import parameter_of

    space = {
        "a": parameter_of({"loguniform": [0.1, 1]}),
        "b": parameter_of({"choice": [0, 0.1, 0.3, 1]}),
        "c": parameter_of({"randint": [1, 9]}),
        "d": parameter_of({"uniform": [0, 2]}),
    }
    population = Population(space, seed=0, every=5, steps=20)
    settings = {"a": 0.99, "b": {"0": 1, "5": 0.3}, "c": 8, "d": 1.0}
    trials = [
        TrialRecord(n, settings | {"c": n % 8 + 1}, generations=(Generation(10, -n),), curve=(CurvePoint(10, -n, {}),))
        for n in range(400)
    ]
    moved = [of for of in population.turn(trials) if of.generations[-1].parent != of.number]
    assert len(moved) == 100
    seen = {key: set() for key in space}
    for of in moved:
        parent = trials[of.generations[-1].parent]
        assert of.curve == parent.curve
        assert of.settings != parent.settings
        for key, parameter in space.items():
            assert parameter.holds(last_value(of.settings[key])), (key, of.settings)
            seen[key].add(last_value(of.settings[key]))
        assert of.settings["b"] in ({"0": 1, "5": 0.3}, *({"0": 1, "5": 0.3, "10": v} for v in (0, 0.1, 1)))
    assert seen["b"] == {0, 0.1, 0.3, 1}
    assert len(seen["a"]) > 20
    assert population.turn(population.turn(trials)) == population.turn(trials), "asked again it answers the same"


def test_the_lineage_of_a_trial_goes_back_through_whom_it_came_from():
    def trial(number, *parents):
        ends = tuple(Generation(step, 0.0, parent) for step, parent in zip((5, 10, 15), parents, strict=True))
        return TrialRecord(number, generations=ends)

    trials = [trial(0, 0, 0, 0), trial(1, 1, 0, 1), trial(2, 1, 2, 2), trial(3, 3, 3, 2)]
    assert lineage(trials, 0) == []
    assert lineage(trials, 1) == [(10, 0)]
    assert lineage(trials, 3) == [(5, 1), (15, 2)]


def test_a_page_shows_a_population(undisturbed, case):
    records = tuple(undisturbed.store.read_trials())
    space = {key: of.as_dict() for key, of in space_of(case).items()}
    text = render_page(SearchRecord(case.name, space, "mean", ("digit", "traits"), records))
    assert text.count("<svg") >= 5


def test_segments_are_about_an_eighth_of_a_run_in_whole_validations():
    case = load_case(
        "digits",
        ["training.steps=100", "training.validation.every_steps=5", "tuning.search=pbt", "tuning.space=schedules"],
    )
    population = population_of(case, space_of(case))
    assert population.every == 15
    assert population.segment(TrialRecord(3)) == (0, 15)
    assert population.segment(TrialRecord(3, generations=(Generation(75, 0.5, 3),))) == (75, 90)
    assert population.segment(TrialRecord(3, generations=(Generation(90, 0.5, 3),))) == (90, None)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["tuning.space=matching"], r"space: found training\.matching\.dm\.direction, .* cannot change while"),
        (["tuning.space={training.batch_size: {choice: [8, 16]}}"], r"space: found training\.batch_size with pbt"),
        (["tuning.space={network.widths: {choice: [[8], [16]]}}"], r"tuning\.space: found network\.widths with pbt"),
        (["tuning.space={dm.weight: {choice: [0.1, {0: 0.1, 9: 1}]}}"], r"dm\.weight: found .* expected numbers"),
        (
            [
                "tuning.space={dm.weight: {choice: [0.1, 1]}, "
                "dm.tau: {uniform: [1, 2], when: {training.matching.dm.weight: 1}}}"
            ],
            r"found a condition at training\.matching\.dm\.tau",
        ),
        (
            ["tuning.space={dm.weight: {choice: [0, 0.3, 1]}}"],
            r"found 0 among the values of training\.matching\.dm\.weight with pbt",
        ),
        (["tuning.trials=3"], r"tuning\.trials: found 3 with pbt; expected 4 at least"),
        (["training.validation.every_steps=null"], r"found 'pbt', which compares trials as they train"),
        (["tuning.perturb_every=6"], r"tuning\.perturb_every: found 6; expected a multiple .*every_steps, 4"),
        (["tuning.perturb_every=64"], r"tuning\.perturb_every: found 64; .* below training\.steps, 64"),
        (["tuning.search=random"], r"tuning\.perturb_every: found 8 and tuning\.search 'random'; expected pbt"),
        (["tuning.scheduler=asha"], r"tuning\.scheduler: found 'asha' with pbt"),
        (["tuning.hours=2"], r"tuning\.hours: found with pbt"),
        (["tuning.objective=pareto"], r"tuning\.objective: found 'pareto' with pbt"),
        (["training.early_stopping={patience: 2}"], r"training\.early_stopping: found with pbt"),
        (["training.balancing=dwa"], r"found 'pbt', whose weights change .* balancing 'dwa'"),
        (
            ["tuning.arm=single-task", "tuning.space={training.task_weights.digit: {uniform: [0, 1]}}"],
            r"a network a task",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(settings, told):
    with pytest.raises(UserError, match=told) as refused:
        population_case(*settings)
    assert len(str(refused.value).splitlines()) == 1


SMALL = [
    "training.steps=12",
    "training.batch_size=16",
    "training.validation.rows=100",
    "network={backbone: small_cnn, widths: [8, 16]}",
    "training.validation.every_steps=2",
    "training.seeds=[0]",
    "tuning.search=pbt",
    "tuning.trials=4",
    "tuning.perturb_every=4",
    "tuning.space={dm.weight: {uniform: [0, 1]}, dm.tau: {loguniform: [0.3, 3]}, "
    "relatedness.0.weight: {uniform: [0, 2]}}",
    "tuning.seeds=[0]",
    "tuning.fresh_seeds=0",
    "tuning.objective=mean",
    "evaluation.replicates=50",
    "training.checkpoints.every_steps=3",
]


def test_a_trained_population_is_that_of_runs_from_the_beginning_to_the_bit(digits_store, ray_local, tmp_path):
    """Killed in between, with the state of one trial lost: what goes on from it begins anew, and comes to the same."""
    case = load_case("digits", [*SMALL, f"storage.path={digits_store}"])
    steps.ingest(case)
    data_sets = ingested(case).of_split("train", "validation")

    class Dying(SearchStore):
        """Dies when a trial that took another's state has validated once on its own."""

        def write_trial(self, record):
            super().write_trial(record)
            ends = [of for of in record.generations if of.parent not in (None, record.number)]
            if ends and record.curve[-1].step > ends[0].step:
                Dying.parent = ends[0].parent
                raise Killed

    def search_here(store):
        search = Search(case, space_of(case), store(str(tmp_path / "search")))
        work_here("worker", search, case, data_sets, search.store)
        return search

    with pytest.raises(Killed):
        search_here(Dying)
    for file in Path(SearchStore(str(tmp_path / "search")).states_folder(Dying.parent)).iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    search = search_here(SearchStore)
    found = suggested(search)
    assert [of.state for of in found] == ["finished"] * 4
    moved = [of for of in found if any(end.parent != of.number for end in of.generations)]
    assert moved
    assert any(isinstance(value, dict) for of in moved for value in of.settings.values())
    events = []
    for of in moved:
        tried = trial_case(case, Job(of.number, of.settings, "", (0,), False), 0)
        (run,) = list_runs(tried)
        work = WorkerAssignment(tried, (run,), data_sets, str(tmp_path / f"again-{of.number}"), "attempt")
        fit_here(Worker(), work)
        again = Path(work.folder(run))
        trained = Path(run.folder(search.store.trial_folder(of.number)))
        assert (trained / WEIGHTS).read_bytes() == (again / WEIGHTS).read_bytes()
        assert pq.read_table(trained / HISTORY).equals(pq.read_table(again / HISTORY))
        assert [point.step for point in of.curve] == [2, 4, 6, 8, 10, 12]
        events += [event["what"] for event in read_record(str(trained))["events"]]
    assert any("went on from the state of trial" in what for what in events)
    conclude(search)
    assert not list((tmp_path / "search").glob("trials/*/states/*"))
