"""Optuna's samplers: TPE, NSGA-II for several objectives, and any other, in a study made of the trials' records.

The study lives in memory and holds nothing that is not in the records. The sampler is seeded anew for every trial, from
the search's seed and the trial's number: a search that goes on after a kill draws what it would have drawn.
"""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.case.search_parameters import Parameter
from pipelines.search.records import TrialRecord
from pipelines.search.search_plan import SearchPlan


def optuna_searcher(plan: SearchPlan) -> "OptunaSearcher":
    """Return TPE (J. Bergstra et al., NeurIPS 2011), or NSGA-II (K. Deb et al., 2002) for several objectives."""
    import optuna

    def tpe(seed: int) -> Any:
        # As if trials that run came to little: those that begin beside them go elsewhere.
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    def nsga(seed: int) -> Any:
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)

    return OptunaSearcher(plan, nsga if plan.several else tpe)


class OptunaSearcher:
    """A sampler of Optuna's.

    Args:
        plan: what is searched.
        sampler: makes one of a seed.
    """

    def __init__(self, plan: SearchPlan, sampler: Callable[[int], Any]) -> None:
        import optuna

        logging.getLogger("optuna").setLevel(logging.WARNING)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan, self._sampler = plan, sampler
        directions: list[Any] = ["maximize"] * (len(plan.tasks) if plan.several else 1)
        self._study = optuna.create_study(directions=directions, sampler=sampler(plan.seed))
        self._open: dict[int, Any] = {}  # by trial, those of Optuna's that have not been told
        self._known: set[int] = set()

    def suggest(self, number: int) -> dict[str, Any]:
        """Ask the sampler."""
        return self._ask(number, None)

    def tell(self, trial: TrialRecord, value: float | None) -> None:
        """Put a trial into the study: begun with the settings that it has, or ended with what it came to."""
        import optuna

        if trial.number in self._known and trial.number not in self._open:
            return
        if trial.number not in self._known:
            if not self._fits(trial.settings):
                return  # the case as it stands may lie outside of the space
            self._ask(trial.number, trial.settings)
        if not trial.has_ended:
            return
        opened = self._open.pop(trial.number)
        if value is None or trial.state == "failed":
            self._study.tell(opened, state=optuna.trial.TrialState.FAIL)
        elif self._plan.several:
            self._study.tell(opened, [trial.scores.get(task, 0.0) for task in self._plan.tasks])
        elif trial.state == "stopped":
            step = trial.curve[-1].step if trial.curve else 0
            opened.report(value, step)
            self._study.tell(opened, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(opened, value)

    def _ask(self, number: int, settings: dict[str, Any] | None) -> dict[str, Any]:
        seed = int(np.random.SeedSequence([self._plan.seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Optuna's experimental arguments
            self._study.sampler = self._sampler(seed)
            if settings is not None:
                fixed = {key: _inner(self._plan.space[key], value) for key, value in settings.items()}
                self._study.enqueue_trial(fixed)
            opened = self._study.ask()
            found: dict[str, Any] = {}
            for key, parameter in self._plan.space.items():
                if parameter.applies(found):
                    found[key] = _suggested(opened, key, parameter)
        self._open[number] = opened
        self._known.add(number)
        return found

    def _fits(self, settings: dict[str, Any]) -> bool:
        """Say whether settings are ones that the space could have given."""
        asked: dict[str, Any] = {}
        for key, parameter in self._plan.space.items():
            if parameter.applies(asked):
                if key not in settings or not parameter.holds(settings[key]):
                    return False
                asked[key] = settings[key]
        return set(asked) == set(settings)


def _suggested(trial: Any, key: str, parameter: Parameter) -> Any:
    if parameter.kind == "choice":  # by its place: values may be of any type
        return parameter.values[trial.suggest_categorical(key, list(range(len(parameter.values))))]
    if parameter.kind == "randint":
        return trial.suggest_int(key, int(parameter.low), int(parameter.high))
    return trial.suggest_float(key, parameter.low, parameter.high, log=parameter.kind == "loguniform")


def _inner(parameter: Parameter, value: Any) -> Any:
    return list(parameter.values).index(value) if parameter.kind == "choice" else value
