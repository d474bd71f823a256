"""What a search costs beside its trials, and what ending trials early saves.

    python tests/benchmarks/search.py bookkeeping               10,000 trials that train nothing: time a report, memory
    python tests/benchmarks/search.py halving CASE [--set ...]  the same configurations with asha and all to the end
    python tests/benchmarks/search.py wall CASE [--set ...]     a search on Ray, and the same trials trained bare

The second trains every configuration twice, in this process, one after the other, and prints how near the best of asha
comes to the best of all, at what share of the steps. The third runs a search as `kindred tune` does, one trial at a
time, then trains and scores its trials in this process without it, and prints both wall times; ``--rounds`` times.
"""

import argparse
import io
import resource
import sys
import tempfile
import time
import uuid
from contextlib import redirect_stderr
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipelines import commands
from pipelines.case.load import load_case
from pipelines.experiment.run import list_runs
from pipelines.ingest.ingest import ingested
from pipelines.search.job import fit_here, score_here, trial_case, work_here
from pipelines.search.search import Job, Search
from pipelines.search.store import SearchStore
from pipelines.search.tune import space_of, tune
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.worker import Worker

REPORTS, STEPS = 16, 64


class Forgetful(SearchStore):
    """The disk is not what is measured."""

    def write_trial(self, record):
        pass

    def write_state(self, state):
        pass


def bookkeeping(trials, scheduler):
    """Report and score trials as fast as they can be; print microseconds a report, and memory."""
    space = "{training.optimizer.lr: {loguniform: [0.0001, 1.0]}, training.matching.dm.weight: {choice: [0, 0.1, 0.3]}}"
    settings = [f"training.steps={STEPS}", "training.validation.every_steps=4", f"tuning.space={space}"]
    settings += ["tuning.search=random", f"tuning.trials={trials}", f"tuning.scheduler={scheduler}"]
    case = load_case("digits", [*settings, "tuning.seeds=[0]", "tuning.fresh_seeds=0", "tuning.objective=mean"])
    search = Search(case, space_of(case), Forgetful(tempfile.mkdtemp()))
    in_reports = in_rest = 0.0
    reports = ended = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    half = None
    while True:
        begun = time.perf_counter()
        job = search.next("worker")
        in_rest += time.perf_counter() - begun
        if not isinstance(job, Job):
            break
        rate = job.settings.get("training.optimizer.lr", 0.01)
        stopped = False
        if job.reports:
            for step in range(4, STEPS + 1, 4):
                scores = {"digit.accuracy": rate * step / STEPS, "traits.macro_f1": rate}
                begun = time.perf_counter()
                stopped = search.report(job, step, scores, step == STEPS)
                in_reports += time.perf_counter() - begun
                reports += 1
                if stopped:
                    break
        begun = time.perf_counter()
        if stopped:
            search.stopped(job, 1.0)
        else:
            for seed in job.seeds:
                search.scored(job, seed, {"digit": rate, "traits": rate}, {}, 1.0)
        in_rest += time.perf_counter() - begun
        ended += 1
        if ended == trials // 2:
            half = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{scheduler}: {ended} trials, {reports} reports: {1e6 * in_reports / max(1, reports):.0f} us a report, "
        f"{1e6 * in_rest / ended:.0f} us a trial for the rest; memory {before // 1024} MB before, "
        f"{(half or after) // 1024} MB at half, {after // 1024} MB at the end"
    )


class Steps(SearchStore):
    """Counts the steps of trials that have ended."""

    def steps(self, of_a_trial):
        trials = [of for of in self.read_trials() if of.origin == "suggested"]
        return sum(of.curve[-1].step if of.state == "stopped" else of_a_trial for of in trials)


def halving(name, overrides):
    """Search the same configurations with asha and with all to the end; print what asha finds and saves."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for scheduler in ("none", "asha"):
            more = ["tuning.search=random", "tuning.seeds=[0]", "tuning.fresh_seeds=0", "tuning.objective=mean"]
            case = load_case(name, [*more, *overrides, f"tuning.scheduler={scheduler}"])
            commands.ingest(case)
            data_sets = ingested(case).of_split("train", "validation")
            store = Steps(f"{scratch}/{scheduler}")
            search = Search(case, space_of(case), store)
            begun = time.perf_counter()
            with redirect_stderr(io.StringIO()):
                work_here("worker", search, case, data_sets, store)
            seconds = time.perf_counter() - begun
            trials = [of for of in store.read_trials() if of.origin == "suggested"]
            best = max(of.score for of in trials if of.state == "finished")
            inside = sum(of.seconds for of in store.read_trials())
            found[scheduler] = best, store.steps(case.training.steps), seconds, inside
            print(
                f"{scheduler}: best {best:.4f}, {found[scheduler][1]} steps, {seconds:.0f} s, {inside:.0f} s in trials"
            )
    (best, steps, seconds, inside), (found_best, fewer, _, _) = found["none"], found["asha"]
    print(f"asha: {found_best / best:.4f} of the best score at {fewer / steps:.2f} of the steps")
    print(f"wall time over that of the trials themselves: {seconds / inside:.3f}")


def wall(name, overrides, rounds):
    """Run a search on Ray, then its trials bare; print both wall times, every round in folders of its own."""
    for i in range(rounds):
        # Every trial to its end, one at a time: what is left beside training is the search.
        more = ["tuning.search=random", "tuning.scheduler=none", "tuning.concurrency=1", f"tuning.search_seed={i}"]
        case = load_case(name, [*more, *overrides])
        commands.ingest(case)
        data_sets = ingested(case)
        begun = time.perf_counter()
        with redirect_stderr(io.StringIO()):
            found = tune(case, data_sets)
        searched = time.perf_counter() - begun
        data_sets = data_sets.of_split("train", "validation")
        trials = [(of, seed) for of in found.record.trials for seed in of.by_seed]
        chosen = next((of for of in found.record.trials if found.record.fresh and of.number == _fresh_of(found)), None)
        trials += [(chosen, seed) for seed in found.record.fresh if chosen]
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
            for number, (of, seed) in enumerate(trials):
                tried = trial_case(case, Job(of.number, of.settings, of.name, (seed,), False), seed)
                folder, runs = f"{scratch}/{number}", list_runs(tried)
                fit_here(Worker(), WorkerAssignment(tried, tuple(runs), data_sets, folder, uuid.uuid4().hex))
                score_here(Worker().device, data_sets, tried, runs, folder)
        bare = time.perf_counter() - begun
        print(f"{len(trials)} trainings: search {searched:.0f} s, bare {bare:.0f} s, ratio {searched / bare:.3f}")


def _fresh_of(found):
    return SearchStore(found.folder).read_state().fresh_of


def main():
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bookkeeping", "halving", "wall"])
    parser.add_argument("case", nargs="?", default="digits")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.what != "bookkeeping":
        from pipelines.base.ray_session import ray_on_demand

        with ray_on_demand():
            if arguments.what == "halving":
                halving(arguments.case, arguments.overrides)
            else:
                wall(arguments.case, arguments.overrides, arguments.rounds)
        return
    for scheduler in ("none", "asha", "median", "hyperband"):
        bookkeeping(arguments.trials, scheduler)


if __name__ == "__main__":
    main()
