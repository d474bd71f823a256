"""The learning rate of a step: the optimiser's, times the warm-up's share, times the schedule's multiplier."""

from pipelines.case.training import Training


def learning_rate(training: Training, step: int) -> float:
    """Return the learning rate of a step.

    Args:
        training: whose schedule, optimiser and number of steps it is.
        step: counted from 0; less than ``training.steps``.
    """
    schedule = training.schedule
    warm_up = min(1.0, (step + 1) / (schedule.warmup_steps + 1))
    return training.optimizer.lr * warm_up * schedule.multiplier(step, training.steps)
