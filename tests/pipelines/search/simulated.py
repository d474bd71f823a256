"""Trials that train nothing and come to a number that follows from their settings: for what is not about training."""

import math

import numpy as np

from pipelines.case.load import load_case
from pipelines.search.search import Job, Search
from pipelines.search.store import SearchStore
from pipelines.search.tune import space_of

STEPS, EVERY = 64, 4
SPACE = (
    "{training.optimizer.lr: {loguniform: [1e-4, 1.0]}, training.matching.dm.weight: {choice: [0, 0.1, 0.3]}, "
    "training.matching.dm.tau: {uniform: [0.5, 2], when: {training.matching.dm.weight: [0.1, 0.3]}}}"
)


def simulated_case(*more):
    return load_case(
        "digits",
        [
            f"training.steps={STEPS}",
            f"training.validation.every_steps={EVERY}",
            f"tuning.space={SPACE}",
            "tuning.objective=mean",
            "tuning.trials=12",
            *more,
        ],
    )


def search_of(case, folder, extend=0, store=SearchStore):
    return Search(case, space_of(case), store(str(folder)), extend)


def scores_of(job, seed, step):
    """Return metrics that rise over steps to what the settings are worth; a learning rate of 0.01 is best."""
    quality = 0.9 - 0.1 * abs(math.log10(job.settings.get("training.optimizer.lr", 0.003)) + 2)
    noise = np.random.Generator(np.random.PCG64([job.number, seed])).normal() * 0.01
    value = max(0.0, quality + noise) * (1 - math.exp(-(step + 8) / 20))
    return {"digit.accuracy": value, "traits.macro_f1": value}


class Events(list):
    """What workers did: (trial, seed, what)."""

    def scored(self):
        return [event[:2] for event in self if event[2] == "scored"]


def work(search, events, workers=3, do=None):
    """Do a search's jobs, a validation of each worker at a time, until there are none.

    ``do`` does a job, a step of it at each turn; by default one whose score follows from its settings.
    """
    do = do or _do
    at: dict[str, tuple[Job, object]] = {}
    over, idle = False, 0
    while not over or at:
        idle = 0 if at else idle + 1
        assert idle < 1000, "it waits for nothing"
        for name in [f"worker-{i}" for i in range(workers)]:
            if name not in at:
                job = search.next(name)
                over = job is None
                if isinstance(job, Job):
                    at[name] = job, do(search, job, events)
            if name in at and next(at[name][1], "end") == "end":
                del at[name]


def _do(search, job, events):
    for seed in job.seeds:
        if job.reports and seed == job.seeds[0]:
            for step in range(EVERY, STEPS + 1, EVERY):
                yield
                if search.report(job, step, scores_of(job, seed, step), step == STEPS):
                    events.append((job.number, seed, "stopped"))
                    search.stopped(job, 1.0)
                    return
        yield
        found = scores_of(job, seed, STEPS)
        by_task = {"digit": found["digit.accuracy"], "traits": found["traits.macro_f1"]}
        events.append((job.number, seed, "scored"))
        search.scored(job, seed, by_task, found, 1.0)
