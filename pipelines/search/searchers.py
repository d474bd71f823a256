"""Settings drawn at random, and over a grid. What is drawn follows from the search's seed and the trial's number."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.case.search_parameters import Parameter
from pipelines.search.records import TrialRecord
from pipelines.search.search_plan import SearchPlan, settings_key

_POINTS = 5  # of a grid over a range


class RandomSearcher:
    """Every trial drawn by itself, from the search's seed and its number alone.

    Args:
        plan: what is searched.
    """

    def __init__(self, plan: SearchPlan) -> None:
        self._plan = plan

    def suggest(self, number: int) -> dict[str, Any]:
        """Draw a trial."""
        generator = np.random.Generator(np.random.PCG64([self._plan.seed, number]))
        settings: dict[str, Any] = {}
        for key, parameter in self._plan.space.items():
            share = float(generator.random())  # drawn in any case: what follows does not depend on conditions
            if parameter.applies(settings):
                settings[key] = parameter.at(share)
        return settings

    def tell(self, trial: TrialRecord, value: float | None) -> None:
        """Learn nothing."""


class GridSearcher:
    """All combinations, one after the other: every value of a choice, five points of a range.

    Args:
        plan: what is searched.
    """

    def __init__(self, plan: SearchPlan) -> None:
        self._keys = list(plan.space)
        self._axes = [_points(parameter) for parameter in plan.space.values()]
        self._space = plan.space
        self._given: set[str] = set()
        self._left = self._combinations()

    def _combinations(self) -> Iterator[dict[str, Any]]:
        for values in itertools.product(*self._axes):
            settings: dict[str, Any] = {}
            for key, value in zip(self._keys, values, strict=True):
                if self._space[key].applies(settings):
                    settings[key] = value
            yield settings

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the next one that no trial has had."""
        for settings in self._left:
            if settings_key(settings) not in self._given:  # conditions make some of them alike
                self._given.add(settings_key(settings))
                return settings
        return None

    def tell(self, trial: TrialRecord, value: float | None) -> None:
        """Note that a combination has been had."""
        self._given.add(settings_key(trial.settings))


def _points(parameter: Parameter) -> Sequence[Any]:
    if parameter.kind == "choice":
        return parameter.values
    if parameter.kind == "randint":
        every = range(int(parameter.low), int(parameter.high) + 1)
        return (
            every
            if len(every) <= _POINTS
            else sorted({parameter.at(i / (_POINTS - 1) * (1 - 1e-12)) for i in range(_POINTS)})
        )
    return [parameter.at(i / (_POINTS - 1)) for i in range(_POINTS)]
