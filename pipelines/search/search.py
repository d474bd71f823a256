"""The bookkeeping of a search: what is tried next, what goes on, what is ended, and when it is over.

It knows nothing of Ray or of training: workers ask it for jobs and tell it what they came to, from threads of one
process. Everything that happens is in the storage before the worker is answered, so a search that is killed at any
moment is taken up again from there.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.base.progress import note
from pipelines.case.case import Case
from pipelines.case.search_parameters import Parameter
from pipelines.search.baselines import SINGLE_TASK, baselines_of
from pipelines.search.best_case import settings_words
from pipelines.search.choice import choose, value_to_search
from pipelines.search.find_searcher import searcher_of
from pipelines.search.objective import Objective, objective_of
from pipelines.search.population import may_hold, population_of
from pipelines.search.records import CurvePoint, Generation, TrialRecord, finite
from pipelines.search.schedulers import scheduler_of
from pipelines.search.search_plan import SearchPlan, settings_key
from pipelines.search.settings import current_values
from pipelines.search.store import SearchState, SearchStore

_LEAST_SURVIVORS = 3  # so many get all seeds, that a winner may turn out unsafe or lucky
_MOST_DEATHS = 2  # of its worker, before a trial counts as what kills it
_DONE = "done"
_REDRAWS = 20  # of settings that have been tried
_STATE_EVERY_S = 10.0


@dataclass(frozen=True)
class Job:
    """What a worker is to do: train and score a trial with some seeds, one after the other.

    Attributes:
        number: the trial's.
        settings: by dotted key of the case.
        name: of a baseline, else empty.
        seeds: which to train.
        reports: whether its validations are reported, and may end it.
        fresh: whether it is the winner, trained again.
        begins_from: of a population, the trial whose state it goes on from, and that state's step; None from the start.
        until: of a population, the step at which it pauses; None to its end.
    """

    number: int
    settings: Mapping[str, Any]
    name: str
    seeds: tuple[int, ...]
    reports: bool
    fresh: bool = False
    begins_from: tuple[int, int] | None = None
    until: int | None = None


@dataclass(frozen=True)
class Summary:
    """How far a search is.

    Attributes:
        target: how many trials it is to have, baselines and the case as it stands among them.
        ended: how many have ended, one way or another.
        running: how many train now.
        stopped: how many were ended early.
        failed: how many failed.
        best: the number and score of the best that has come to its end; None where none has.
        phase: what is being done.
        best_name: what the best one is called.
        best_settings: its settings, in a line.
        last_failure: which trial failed last, and why.
    """

    target: int
    ended: int = 0
    running: int = 0
    stopped: int = 0
    failed: int = 0
    best: tuple[int, float] | None = None
    phase: str = "trials"
    best_name: str = ""
    best_settings: str = ""
    last_failure: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.phase == _DONE

    def words(self) -> str:
        """Return it as a line."""
        best = f"best {self.best[1]:.4f} ({self.best_name}), " if self.best else ""
        return f"{best}{self.running} running, {self.stopped} stopped early, {self.failed} failed; {self.phase}"


class Search:
    """A search as it stands; every method may be called from any thread.

    Args:
        case: the case, with what is measured of its data.
        space: what is searched.
        store: where its records lie.
        extend: by how many trials it is to be longer, where it has ended.
        now: the clock, seconds since 1970.
    """

    def __init__(
        self,
        case: Case,
        space: Mapping[str, Parameter],
        store: SearchStore,
        extend: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.case, self.space, self.store, self._now = case, space, store, now
        self.objective: Objective = objective_of(case)
        tasks = tuple(self.objective.measures)
        several = case.tuning.objective == "pareto"
        self._searcher = searcher_of(case.tuning.search, SearchPlan(space, case.tuning.search_seed, tasks, several))
        self._scheduler = scheduler_of(case)
        self._population = population_of(case, space)
        self._turned: list[TrialRecord] = []  # and not written down yet
        self.records: dict[int, TrialRecord] = {}
        self._begun = now()
        self._lock = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: dict[str, Job] = {}  # by worker
        self._deaths: dict[int, int] = {}
        self._tried: set[str] = set()
        self._untold: list[TrialRecord] = []
        self._exhausted = False
        self._phase = "trials"
        self._over = False
        self._counted = {"ended": 0, "stopped": 0, "failed": 0}
        self._best: tuple[int, float] | None = None
        self._last_failure = ""
        self._suggested = 0
        self._next_number = 0
        self._single_number: int | None = None
        self._gpu_seconds = 0.0
        self._chosen: int | None = None
        self._state_written = 0.0
        trials = self.read_trials()
        state = store.read_state() or SearchState(case.tuning.trials, now())
        self.state = replace(state, target=_target(state, trials, case.tuning.trials, extend), ended=None)
        self._take_up(trials)

    # -- asked by workers ----------------------------------------------------------------------------------------------

    def next(self, worker: str, patience: float = 0.0) -> Job | str | None:
        """Return a job; ``"wait"`` where there is none now and may be later; None where the search is over.

        Args:
            worker: names who asks.
            patience: how many seconds to wait for one here.
        """
        with self._lock:
            self._running.pop(worker, None)
            self._lock.notify_all()
            job = self._job()
            if job is None and not self._over and patience:
                self._lock.wait(patience)
                job = self._job()
            if job is None:
                return None if self._over else "wait"
            self._running[worker] = job
            for of in self._turned:  # all of them before one goes on
                self.store.write_trial(of)
            self._turned.clear()
            record = self.records[job.number]
            begins = record.state == "waiting"
            if begins:
                record = self.records[job.number] = replace(record, state="running")
        if begins:
            self.store.write_trial(record)
        return job

    def report(self, job: Job, step: int, scores: Mapping[str, float], last: bool = False) -> bool:
        """Take a validation of a trial as it trains; return whether the trial is to end here.

        Args:
            job: the worker's.
            step: how many steps were done.
            scores: by ``<task>.<metric>``.
            last: whether that was the last step: then there is nothing left to end.
        """
        measures = self.objective.measures
        by_task = {
            name: of.sign * scores[key] for name, of in measures.items() if (key := f"{name}.{of.name}") in scores
        }
        with self._lock:
            record = self.records[job.number]
            if record.has_ended:
                return True
            if record.curve and step <= record.curve[-1].step:
                return False  # done again, from a checkpoint
            score = self._value(by_task) if by_task else float("nan")
            judged = record.origin == "suggested" and not last
            reason = self._scheduler.report(job.number, step, score, judged) if score == score else None
            record = replace(record, curve=(*record.curve, CurvePoint(step, score, by_task)))
            if reason is not None:
                record = replace(record, state="stopped", reason=reason, score=score, scores=by_task)
            self.records[job.number] = record
        self.store.write_trial(record)
        return reason is not None

    def has_stopped(self, job: Job) -> bool:
        """Say whether a trial was to end early."""
        with self._lock:
            return self.records[job.number].state == "stopped"

    def paused(self, job: Job, seconds: float) -> None:
        """Note that a trial of a population has come to the end of a segment, and waits for the others."""
        assert job.until is not None
        step = job.until

        def at_its_end(record: TrialRecord) -> TrialRecord:
            if record.has_ended or _has_come_to(record, step):
                return record
            score = next((point.score for point in record.curve if point.step == step), None)
            generations = (*record.generations, Generation(step, score))
            return replace(record, state="waiting", generations=generations, seconds=record.seconds + seconds)

        self._end(job, at_its_end)

    def stopped(self, job: Job, seconds: float) -> None:
        """Note that a trial that was to end early has ended."""
        self._end(job, lambda record: replace(record, state="stopped", seconds=record.seconds + seconds))

    def scored(
        self, job: Job, seed: int, scores: Mapping[str, float], metrics: Mapping[str, float], seconds: float
    ) -> None:
        """Note what a seed of a trial came to on the validation split; the trial ends with its last one."""
        if job.fresh:
            with self._lock:
                if self.state.fresh_of == job.number:
                    self.state = replace(self.state, fresh={**self.state.fresh, seed: dict(scores)})
            self._write_state()
            return
        value = self._value(scores) if scores else float("nan")

        def with_seed(record: TrialRecord) -> TrialRecord:
            by_seed = {**record.by_seed, seed: dict(scores)}
            n = len(by_seed)
            mean = {task: sum(of[task] for of in by_seed.values()) / n for task in scores}
            merged = {
                name: (record.metrics.get(name, of) * (n - 1) + of) / n if n > 1 else of for name, of in metrics.items()
            }
            over = seed == job.seeds[-1]
            return replace(
                record,
                state="finished" if over else "running",
                score=self._value(mean),
                scores=mean,
                metrics=merged,
                seeds=n,
                by_seed=by_seed,
                seconds=record.seconds + seconds,
            )

        if value != value:
            self.failed(job, f"seed {seed}: the score is not defined: {dict(scores)}", seconds)
        else:
            self._end(job, with_seed)

    def failed(self, job: Job, reason: str, seconds: float) -> None:
        """Note that a trial failed, and why."""
        if job.fresh:
            self.scored(job, job.seeds[-1], {}, {}, seconds)
            return
        self._end(job, lambda of: replace(of, state="failed", reason=reason, seconds=of.seconds + seconds))

    def died(self, worker: str) -> None:
        """Note that a worker is gone: what it was at is done again, unless it is what kills workers."""
        with self._lock:
            job = self._running.pop(worker, None)
            if job is None:
                return
            self._deaths[job.number] = deaths = self._deaths.get(job.number, 0) + 1
            again = deaths <= _MOST_DEATHS
            paused = job.until is not None and _has_come_to(self.records[job.number], job.until)
            if again and not paused and not self.records[job.number].has_ended:
                left = tuple(seed for seed in job.seeds if seed not in self.records[job.number].by_seed)
                if job.fresh or left:
                    self._waiting.appendleft(job if job.fresh else replace(job, seeds=left))
            self._lock.notify_all()
        if not again:
            self.failed(job, f"its worker died {deaths} times, as for want of memory", 0.0)

    # -- asked by the driver -------------------------------------------------------------------------------------------

    def has_work(self) -> bool:
        """Say whether anything is left to train."""
        with self._lock:
            job = self._job()
            if job is not None:
                self._waiting.appendleft(job)
            return job is not None

    def summary(self) -> Summary:
        """Return how far it is."""
        with self._lock:
            fixed = len(self.records) - self._suggested
            target = fixed + (self._suggested if self._exhausted else max(self.state.target, self._suggested))
            best = self.records[self._best[0]] if self._best else None
            return Summary(
                target,
                self._counted["ended"],
                len(self._running),
                self._counted["stopped"],
                self._counted["failed"],
                self._best,
                self._phase,
                best.title if best else "",
                settings_words(best.settings) if best else "",
                self._last_failure,
            )

    def read_trials(self) -> list[TrialRecord]:
        """Return the storage's records by number; one whose settings this search cannot have drawn is passed over.

        Settings become keys of a case, which may name code; a storage is no case file that the user has read.
        """
        found, shipped = [], current_values(self.case, self.space)
        for record in self.store.read_trials():
            expected = {} if record.origin == "baseline" else shipped
            drawn = record.origin == "suggested" and all(
                key in self.space and self._may_hold(self.space[key], value) for key, value in record.settings.items()
            )
            if drawn or finite(record.settings) == finite(expected):
                found.append(record)
            else:
                note(f"{self.store.folder}: trial {record.number} has settings that are not searched; it is made again")
        return found

    def chosen(self) -> int | None:
        """Return the number of the trial that is the best so far, as the objective chooses."""
        return choose(self.case, self.objective, list(self.records.values()), self.store)[0]

    def begin(self) -> None:
        """Write down that the search goes on, and how far."""
        self._write_state(now=True)

    def close(self, over: bool) -> None:
        """Write the state at the end of a command; ``over``: the search has ended."""
        with self._lock:
            self.state = replace(self.state, ended=self._now() if over else None)
        self._write_state(now=True)

    # -- within --------------------------------------------------------------------------------------------------------

    def _may_hold(self, parameter: Parameter, value: Any) -> bool:
        return may_hold(parameter, value) if self._population else parameter.may_hold(value)

    def _value(self, scores: Mapping[str, float]) -> float:
        return float(self.objective.value(scores))

    def _single(self) -> dict[str, float] | None:
        single = self._single_number is not None and self.records[self._single_number].scores
        return single or None

    def _single_has_ended(self) -> bool:
        return self._single_number is None or self.records[self._single_number].has_ended

    def _take_up(self, trials: list[TrialRecord]) -> None:
        """Begin with what stands in the storage; make what is always scored."""
        by_name = {record.name or record.origin: record for record in trials if record.origin != "suggested"}
        always = [*baselines_of(self.case), "shipped"]
        for number, name in enumerate(always):
            if name not in by_name:
                origin: Any = "shipped" if name == "shipped" else "baseline"
                settings = current_values(self.case, self.space) if name == "shipped" else {}
                trials.append(TrialRecord(number, settings, origin=origin, name="" if name == "shipped" else name))
        for record in sorted(trials, key=lambda record: record.number):
            self.records[record.number] = record
            for point in record.curve:
                self._scheduler.report(record.number, point.step, point.score, judged=False)
            if record.origin == "suggested":
                self._suggested += 1
            self._tried.add(settings_key(record.settings) if record.origin != "baseline" else record.name)
            self._next_number = record.number + 1
            self._single_number = record.number if record.name == SINGLE_TASK else self._single_number
        for record in list(self.records.values()):
            self._tell(record)
            if record.has_ended:
                self._count(record)
                self.records[record.number] = replace(record, curve=record.curve[-1:])
            elif not self._waits_for_others(record):
                self._waiting.append(self._job_of(record))

    def _job_of(self, record: TrialRecord) -> Job:
        seeds = self.case.tuning.seeds if record.origin != "suggested" else self.case.tuning.seeds[:1]
        left = tuple(seed for seed in seeds if seed not in record.by_seed)
        reports = record.origin != "baseline" and not record.by_seed
        job = Job(record.number, record.settings, record.name, left or seeds[-1:], reports)
        if self._population is None or record.origin != "suggested" or record.by_seed:
            return job
        begin, until = self._population.segment(record)
        parent = record.generations[-1].parent if record.generations else None
        return replace(job, begins_from=None if parent is None else (parent, begin), until=until)

    def _waits_for_others(self, record: TrialRecord) -> bool:
        """Say whether a population's trial has ended a segment that not all have ended, or of which not all know how
        they go on: one that was killed as that was written down."""
        if self._population is None or not record.generations or record.origin != "suggested":
            return False
        last = record.generations[-1]
        undecided = [of.generations[-1] for of in self._members() if of.generations]
        return last.parent is None or any(of.step == last.step and of.parent is None for of in undecided)

    def _members(self) -> list[TrialRecord]:
        """Return the trials of a population that have not ended."""
        return [of for of in self.records.values() if of.origin == "suggested" and not of.has_ended]

    def _turn(self) -> None:
        """Where all of a population have come to the end of a segment, say from whom each goes on.

        Those that are behind, as one whose record was lost and that is made again, catch up among themselves.
        """
        if self._population is None or (self._suggested < self.state.target and not self._exhausted):
            return
        members = self._members()
        step = min((of.generations[-1].step if of.generations else 0 for of in members), default=0)
        behind = [of for of in members if of.generations and of.generations[-1].step == step]
        if not step or all(of.generations[-1].parent is not None for of in behind):
            return
        for record in self._population.turn(behind):
            self._turned.append(record)
            self.records[record.number] = record
            self._waiting.append(self._job_of(record))

    def _job(self) -> Job | None:
        """Return the next job, from whatever phase the search is in."""
        self._turn()
        if self._waiting:
            return self._waiting.popleft()
        if self._may_begin() and (job := self._suggest()):
            return job
        if self._running or self._over:
            return None
        if further := self._further_seeds():
            self._phase = "further seeds of the best"
        elif further := self._fresh_jobs():
            self._phase = "fresh seeds of the winner"
        if not further:
            self._over, self._phase = True, _DONE
            return None
        self._waiting.extend(further)
        return self._waiting.popleft()

    def _may_begin(self) -> bool:
        tuning = self.case.tuning
        if self._exhausted or self._suggested >= self.state.target:
            return False
        if tuning.hours is not None and self._hours() >= tuning.hours:
            return False
        return tuning.gpu_hours is None or self._gpu_seconds / 3600 < tuning.gpu_hours

    def _hours(self) -> float:
        return self.state.hours + (self._now() - self._begun) / 3600

    def _suggest(self) -> Job | None:
        number = self._next_number
        for attempt in range(_REDRAWS):
            asked = number + attempt * 1_000_003
            settings = self._searcher.suggest(asked)
            if settings is None:
                break
            if settings_key(settings) in self._tried:
                self._searcher.tell(TrialRecord(asked, settings, "failed"), None)
                continue
            if attempt:  # the searcher knows it by the number that it was asked for
                self._searcher.tell(TrialRecord(asked, settings, "failed"), None)
            record = TrialRecord(number, settings)
            self._searcher.tell(record, None)
            self._tried.add(settings_key(settings))
            self.records[number] = record
            self._suggested += 1
            self._next_number += 1
            return self._job_of(record)
        self._exhausted = True
        return None

    def _further_seeds(self) -> list[Job]:
        """Return the jobs by which the best trials get their next seed, one level of seeds after the other."""
        seeds = self.case.tuning.seeds
        alive = [of for of in self.records.values() if of.origin == "suggested" and of.state == "finished"]
        first = len(alive)
        for level in range(1, len(seeds)):
            survivors = max(min(first, _LEAST_SURVIVORS), -(-first // self.case.tuning.reduction**level))
            ranked = sorted(alive, key=lambda of: (-self._rank(of, seeds[:level]), of.number))
            alive = ranked[:survivors]
            jobs = [
                Job(of.number, of.settings, "", seeds[level : level + 1], reports=False)
                for of in alive
                if seeds[level] not in of.by_seed
            ]
            if jobs:
                for job in jobs:  # with their curves, which memory has not kept
                    whole = self.store.read_trial(job.number)
                    self.records[job.number] = whole or self.records[job.number]
                return jobs
        return []

    def _rank(self, record: TrialRecord, seeds: tuple[int, ...]) -> float:
        of = [record.by_seed[seed] for seed in seeds if seed in record.by_seed]
        mean = {task: sum(scores[task] for scores in of) / len(of) for task in of[0]}
        return value_to_search(self.case, self.objective, mean, self._single())

    def _fresh_jobs(self) -> list[Job]:
        """Return the jobs that train the winner with seeds that had no part in its choice."""
        if not self.case.tuning.fresh_seeds:
            return []
        chosen = self.chosen()
        if chosen is None:
            return []
        if self.state.fresh_of != chosen:
            self.state = replace(self.state, fresh_of=chosen, fresh={})
        used = self.case.tuning.seeds
        fresh = [seed for seed in range(len(used) + self.case.tuning.fresh_seeds) if seed not in used]
        fresh = fresh[: self.case.tuning.fresh_seeds]
        record = self.records[chosen]
        return [
            Job(chosen, record.settings, record.name, (seed,), reports=False, fresh=True)
            for seed in fresh
            if seed not in self.state.fresh
        ]

    def _end(self, job: Job, change: Callable[[TrialRecord], TrialRecord]) -> None:
        """Change a trial's record, write it, and tell the searcher where the trial has ended by that."""
        with self._lock:
            record = change(self.records[job.number])
            if record.has_ended and record.ended is None:
                record = replace(record, ended=self._now())
        # Before anybody acts on it; this trial's record is no other thread's.
        self.store.write_trial(record)
        with self._lock:
            before = self.records[job.number]
            first = record.has_ended and before.ended is None
            self.records[job.number] = replace(record, curve=record.curve[-1:]) if record.has_ended else record
            if first:
                self._count(record)
                self._tell(record)
            elif record.state == "failed" and before.state != "failed":
                self._counted["failed"] += 1
                self._last_failure = _failure(record)
            self._lock.notify_all()
        self._write_state()

    def _tell(self, record: TrialRecord) -> None:
        """Tell the searcher of a trial, once there is what trials are compared with."""
        if record.origin != "baseline":
            self._untold.append(record)
        if self.objective.kind in ("safe", "delta_m") and not self._single_has_ended():
            return
        for one in self._untold:
            self._tell_now(one)
        self._untold.clear()

    def _tell_now(self, record: TrialRecord) -> None:
        value = None
        if record.score is not None and record.state in ("finished", "stopped"):
            value = value_to_search(self.case, self.objective, record.scores, self._single())
        self._searcher.tell(record, value)

    def _count(self, record: TrialRecord) -> None:
        self._counted["ended"] += 1
        if record.state in ("stopped", "failed"):
            self._counted[record.state] += 1
            self._last_failure = _failure(record) if record.state == "failed" else self._last_failure
        elif record.score is not None and (self._best is None or record.score > self._best[1]):
            self._best = (record.number, record.score)
        self._gpu_seconds += record.seconds * gpus_of_trial(self.case)

    def _write_state(self, now: bool = False) -> None:
        with self._lock:
            moment = self._now()
            if not now and moment - self._state_written < _STATE_EVERY_S and not self.state.fresh:
                return
            self._state_written = moment
            self.state = replace(self.state, hours=self._hours())
            self._begun = moment
            state = self.state
        self.store.write_state(state)


def gpus_of_trial(case: Case) -> float:
    """Return how many GPUs a trial takes: ``tuning.gpus_per_trial`` of one worker, one each of several."""
    if case.training.device != "cuda":
        return 0.0
    return case.tuning.gpus_per_trial if case.training.max_workers == 1 else float(case.training.max_workers)


def _target(state: SearchState, trials: list[TrialRecord], asked: int, extend: int) -> int:
    """Return how many trials there are to be: what a killed ``--extend`` asked for, where that has not been reached."""
    suggested = [record for record in trials if record.origin == "suggested"]
    target = max(state.target, asked) if trials else asked
    all_there = len(suggested) >= target and all(record.has_ended for record in suggested)
    return target + extend if extend and all_there and state.ended is not None else target


def _has_come_to(record: TrialRecord, step: int) -> bool:
    return bool(record.generations) and record.generations[-1].step >= step


def _failure(record: TrialRecord) -> str:
    return f"{record.title}: {record.reason or 'no reason known'}"
