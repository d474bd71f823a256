"""Learning-rate schedules: a function of the step alone, so there is no state to lose."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from mtlcore.registry import Registry
from pipelines.base.kinds import ByKind
from pipelines.base.section import Number, Positive, Probability, Section


class LearningRateSchedule(Section):
    """How the learning rate changes with the step: the base of every kind; its fields are ``training.schedule``'s keys.

    A kind of one's own is a subclass with fields and :meth:`multiplier`. An object of it is pickled to Ray's workers,
    which import its module.

    Attributes:
        kind: the name that the case file gives.
        warmup_steps: the rate first rises over so many steps, by the same amount each; the multiplier's product with
            the warm-up's share counts.
    """

    kind: str
    """The name of the kind."""
    warmup_steps: Annotated[int, Field(ge=0), Number] = 0
    """Steps in which the learning rate rises first."""

    def multiplier(self, step: int, steps: int) -> float:
        """Return what the optimiser's ``lr`` is multiplied by: finite, 0 or more.

        Args:
            step: counted from 0, less than ``steps``.
            steps: the run's number of steps, ``training.steps``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no multiplier")

    def problems(self, steps: int) -> Iterator[str]:
        """Yield what is wrong for a run of so many steps, each as ``key: found ...; expected ...``."""
        if self.warmup_steps >= steps:
            yield f"warmup_steps: found {self.warmup_steps}; expected fewer than training.steps ({steps})"

    def progress(self, step: int, steps: int) -> float:
        """Return how much of the steps after the warm-up is done, in [0, 1)."""
        return max(0, step - self.warmup_steps) / (steps - self.warmup_steps)


class ConstantSchedule(LearningRateSchedule):
    """The learning rate is the optimiser's ``lr``."""

    kind: Literal["constant"]

    def multiplier(self, step: int, steps: int) -> float:
        """Return 1."""
        return 1.0


class CosineSchedule(LearningRateSchedule):
    """From ``lr`` along half a cosine to ``end`` times ``lr`` after the last step; warm-up comes before."""

    kind: Literal["cosine"] = "cosine"
    end: Probability = 0.0
    """Where it ends, as a share of ``lr``."""

    def multiplier(self, step: int, steps: int) -> float:
        """Return the half cosine's height."""
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * self.progress(step, steps)))


class LinearSchedule(LearningRateSchedule):
    """From ``lr`` along a line to ``end`` times ``lr`` after the last step; warm-up comes before."""

    kind: Literal["linear"]
    end: Probability = 0.0
    """Where it ends, as a share of ``lr``."""

    def multiplier(self, step: int, steps: int) -> float:
        """Return the line's height."""
        return self.end + (1 - self.end) * (1 - self.progress(step, steps))


class StepSchedule(LearningRateSchedule):
    """``lr`` times ``factor`` for every ``every`` steps that are done."""

    kind: Literal["step"]
    every: Positive
    """Steps between two changes."""
    factor: Annotated[float, Field(gt=0, le=1), Number] = 0.1
    """What ``lr`` is multiplied by."""

    def multiplier(self, step: int, steps: int) -> float:
        """Return the factor's power."""
        return float(self.factor ** (step // self.every))


class MultistepSchedule(LearningRateSchedule):
    """``lr`` times ``factor`` for each of the ``milestones``, numbers of steps, that is reached."""

    kind: Literal["multistep"]
    milestones: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """The steps of the changes."""
    factor: Annotated[float, Field(gt=0, le=1), Number] = 0.1
    """What ``lr`` is multiplied by."""

    def multiplier(self, step: int, steps: int) -> float:
        """Return the factor's power."""
        return float(self.factor ** sum(step >= milestone for milestone in self.milestones))

    def problems(self, steps: int) -> Iterator[str]:
        """Yield milestones that do not rise, or are never reached."""
        yield from super().problems(steps)
        milestones = list(self.milestones)
        if milestones != sorted(set(milestones)) or milestones[-1] >= steps:
            yield f"milestones: found {milestones}; expected rising, each below training.steps ({steps})"


SCHEDULES: Registry[type[LearningRateSchedule]] = Registry(
    "schedule",
    "kindred.schedules",
    {
        "constant": ConstantSchedule,
        "cosine": CosineSchedule,
        "linear": LinearSchedule,
        "step": StepSchedule,
        "multistep": MultistepSchedule,
    },
)

Schedule = Annotated[LearningRateSchedule, ByKind(SCHEDULES, LearningRateSchedule, alone=True)]


def check_schedule(schedule: LearningRateSchedule, steps: int) -> Iterator[str]:
    """Yield what is wrong with a schedule, a user's own too, as ``key: found ...; expected ...``."""
    problems = list(schedule.problems(steps))
    yield from problems
    for step in sorted({0, steps // 2, steps - 1}) if not problems else ():
        try:
            multiplier = schedule.multiplier(step, steps)
        except Exception as error:  # somebody's code
            yield f"kind: {schedule.kind!r} failed at step {step} of {steps}: {type(error).__name__}: {error}"
            return
        if not (isinstance(multiplier, int | float) and math.isfinite(multiplier) and multiplier >= 0):
            message = f"{schedule.kind!r} has the multiplier {multiplier!r} at step {step}"
            yield f"kind: {message}; expected a number, 0 or more"
            return
