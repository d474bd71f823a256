"""Population-based training: trials train side by side, and those that fall behind go on from better ones.

They take over the state and the settings of one of the best, and go on with settings that are near those.

M. Jaderberg et al., "Population Based Training of Neural Networks", 2017 (arXiv 1711.09846): exploit by truncation,
explore by perturbing or drawing anew. Here a population pauses: whoever comes to the end of a segment of so many steps
waits until all have. What it comes to then follows from the seeds alone, and not from how many trials run at once or
from which was the quicker. The state of a trial is that of a run with its settings by step from the beginning, so its
settings are a case file that trains to the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.case.case import Case
from pipelines.case.search_parameters import Parameter
from pipelines.search.records import TrialRecord
from pipelines.search.search_plan import settings_key

LEAST = 4  # of fewer there is no best and no worst quarter
_RESAMPLED = 0.25  # how likely a value is drawn anew; else it moves by a factor, as in the paper
_FACTORS = (0.8, 1.2)
_REDRAWS = 20  # of settings that are those of the trial they come from


@dataclass(frozen=True)
class Population:
    """What a population's trials do at the end of a segment.

    Attributes:
        space: what is searched, by dotted key; all of it may change while a run trains.
        seed: of the search.
        every: the steps of a segment.
        steps: of a whole trial.
    """

    space: Mapping[str, Parameter]
    seed: int
    every: int
    steps: int

    def segment(self, record: TrialRecord) -> tuple[int, int | None]:
        """Return the steps at which a trial's next segment begins and ends; None for the end of its training."""
        begin = record.generations[-1].step if record.generations else 0
        return begin, begin + self.every if begin + self.every < self.steps else None

    def turn(self, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Return the records with which trials go on that have all come to the end of the same segment.

        The worst quarter goes on from the best. It may be asked again when some of the answer has been written down,
        and answers the same: it looks at nothing that it has changed.
        """
        step = trials[0].generations[-1].step
        assert all(of.generations[-1].step == step for of in trials)
        ranked = sorted(trials, key=lambda of: (-_own_score(of), of.number))
        quarter = len(ranked) // LEAST
        best, worst = ranked[:quarter], {of.number for of in ranked[len(ranked) - quarter :]}
        found = []
        for of in trials:
            if of.generations[-1].parent is not None:
                found.append(of)
                continue
            parent = of
            if of.number in worst:
                draw = np.random.Generator(np.random.PCG64([self.seed, of.number, step]))
                parent = best[int(draw.integers(len(best)))]
                of = replace(of, settings=self._explored(parent.settings, step, draw), curve=parent.curve)
            last = replace(of.generations[-1], parent=parent.number)
            found.append(replace(of, generations=(*of.generations[:-1], last)))
        return found

    def _explored(self, settings: Mapping[str, Any], step: int, draw: np.random.Generator) -> dict[str, Any]:
        """Return settings that are others from a step on, near those that hold until then."""
        now = {key: last_value(value) for key, value in settings.items()}
        moved = now
        for _ in range(_REDRAWS):
            moved = {key: self._moved(self.space[key], value, draw) for key, value in now.items()}
            if settings_key(moved) != settings_key(now):
                break
        return {key: _from(value, step, moved[key]) for key, value in settings.items()}

    def _moved(self, parameter: Parameter, value: Any, draw: np.random.Generator) -> Any:
        anew, share, up = draw.random(), float(draw.random()), bool(draw.random() < 0.5)
        if anew < _RESAMPLED:
            return parameter.at(share)
        if parameter.kind == "choice":
            place = next(i for i, one in enumerate(parameter.values) if one == value) + (1 if up else -1)
            return parameter.values[min(max(place, 0), len(parameter.values) - 1)]
        moved = min(max(value * _FACTORS[up], parameter.low), parameter.high)
        return round(moved) if parameter.kind == "randint" else moved


def _own_score(record: TrialRecord) -> float:
    score = record.generations[-1].score
    return float("-inf") if score is None or score != score else score


def _by_step(value: Any) -> dict[int, Any]:
    return {int(step): of for step, of in value.items()} if isinstance(value, dict) else {0: value}


def _from(value: Any, step: int, later: Any) -> Any:
    """Return a value as a case has it (steps are texts in JSON) that is another one from a step on."""
    by_step = _by_step(value)
    if last_value(value) == later:
        return value
    return {str(at): of for at, of in {**by_step, step: later}.items()}


def last_value(value: Any) -> Any:
    """Return what holds at the end of a value by step; another value as it is.

    Example:
        >>> last_value({"0": 0.3, "400": 1.0}), last_value(0.3)
        (1.0, 0.3)
    """
    return list(value.values())[-1] if isinstance(value, dict) and is_by_step(value) else value


def is_by_step(value: Any) -> bool:
    """Say whether a trial's value is one by step."""
    return isinstance(value, dict) and bool(value) and all(str(key).isdigit() for key in value)


def may_hold(parameter: Parameter, value: Any) -> bool:
    """Say whether a population may have come to a value."""
    return all(parameter.may_hold(of) for of in (value.values() if is_by_step(value) else [value]))


def lineage(records: Sequence[TrialRecord], number: int) -> list[tuple[int, int]]:
    """Return at which steps a trial's state was taken over from another one's, and from whose, in order.

    What a trial took over has itself come from where its parent's came from.
    """
    by_number = {of.number: of for of in records}
    steps = sorted({of.step for record in records for of in record.generations}, reverse=True)
    found, current = [], number
    for step in steps:
        parents = {of.step: of.parent for of in by_number[current].generations}
        parent = parents.get(step)
        if parent is not None and parent != current:
            found.append((step, parent))
            current = parent
    return found[::-1]


def steps_between(case: Case) -> int:
    """Return the steps of a segment: ``tuning.perturb_every``, or about an eighth of a run, in whole validations."""
    if case.tuning.perturb_every is not None:
        return case.tuning.perturb_every
    every = case.training.validation.every_steps or 1
    return every * max(1, -(-case.training.steps // (8 * every)))


def population_of(case: Case, space: Mapping[str, Parameter]) -> Population | None:
    """Return the population of a search; None where it has none."""
    if case.tuning.search != "pbt":
        return None
    return Population(space, case.tuning.search_seed, steps_between(case), case.training.steps)
