"""The learning rate: a function of the step alone, so it has no state to lose."""

import math

from pipelines.case.training import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    MultistepSchedule,
    StepSchedule,
    Training,
)


def learning_rate(training: Training, step: int) -> float:
    """Return the learning rate of a step.

    Args:
        training: whose schedule, optimiser and number of steps it is.
        step: counted from 0; less than ``training.steps``.
    """
    return training.optimizer.lr * _warm_up(training, step) * _decay(training, step)


def _warm_up(training: Training, step: int) -> float:
    """Return the share of the rate that the steps before the full one get, evenly spaced in (0, 1)."""
    return min(1.0, (step + 1) / (training.schedule.warmup_steps + 1))


def _decay(training: Training, step: int) -> float:
    match training.schedule:
        case ConstantSchedule():
            return 1.0
        case CosineSchedule(end=end):
            return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * _progress(training, step)))
        case LinearSchedule(end=end):
            return end + (1 - end) * (1 - _progress(training, step))
        case StepSchedule(every=every, factor=factor):
            return float(factor ** (step // every))
        case MultistepSchedule(milestones=milestones, factor=factor):
            return float(factor ** sum(step >= milestone for milestone in milestones))


def _progress(training: Training, step: int) -> float:
    """Return how much of the steps after the warm-up is done, in [0, 1)."""
    warmup = training.schedule.warmup_steps
    return max(0, step - warmup) / (training.steps - warmup)
