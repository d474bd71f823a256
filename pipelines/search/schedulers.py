"""Which trials are ended early: asynchronous successive halving, hyperband and the median rule, by steps.

Each is told a trial's validations as they come and answers whether the trial goes on. What it knows follows from the
curves in the trials' records, so that a search that was killed goes on as it would have gone on. A report costs one
search in a sorted list.
"""

import bisect
from typing import Protocol

from pipelines.case.case import Case


class Scheduler(Protocol):
    """Decides which trials go on."""

    def report(self, trial: int, step: int, score: float, judged: bool = True) -> str | None:
        """Take a validation; return why the trial is ended here, or None where it goes on.

        The same report again gets the same answer and changes nothing.

        Args:
            trial: its number.
            step: how many steps it has done.
            score: what it came to, higher is better.
            judged: False where this has been decided before, by a command that was killed: it is only noted.
        """
        ...


class NoScheduler:
    """Every trial to its end."""

    def report(self, trial: int, step: int, score: float, judged: bool = True) -> str | None:
        """Let it go on."""
        return None


class AsyncHalving:
    """ASHA, its stopping form: at each rung the best one in ``reduction`` of those that came there go on.

    L. Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020; as Ray Tune's ASHAScheduler. The
    first to come to a rung go on, since there is nothing to compare them with.

    Args:
        grace_steps: the first rung.
        reduction: one in so many goes on, each so many times as far.
        steps: of a trial that goes to its end, where there is no rung.
    """

    def __init__(self, grace_steps: int, reduction: int, steps: int) -> None:
        self._reduction = reduction
        self.rungs: list[int] = []
        while grace_steps < steps:
            self.rungs.append(grace_steps)
            grace_steps *= reduction
        self._scores: list[list[float]] = [[] for _ in self.rungs]  # rising
        self._reached: dict[int, int] = {}  # by trial, how many rungs it has been judged at
        self._answers: dict[int, str] = {}

    def report(self, trial: int, step: int, score: float, judged: bool = True) -> str | None:
        """Judge a trial at every rung that it has come to since its last report."""
        if trial in self._answers:
            return self._answers[trial]
        next_rung = self._reached.get(trial, 0)
        while next_rung < len(self.rungs) and self.rungs[next_rung] <= step:
            scores = self._scores[next_rung]
            bisect.insort(scores, score)
            next_rung += 1
            self._reached[trial] = next_rung
            going_on = max(1, len(scores) // self._reduction) if len(scores) >= self._reduction else len(scores)
            if judged and score < scores[-going_on]:
                rung = self.rungs[next_rung - 1]
                words = f"step {step}: not among the best {going_on} of {len(scores)} that came to the rung at {rung}"
                self._answers[trial] = words
                return words
        return None


class Hyperband:
    """Hyperband, asynchronous: several brackets of :class:`AsyncHalving` that begin to judge later and later.

    L. Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 2018. Trials are dealt
    over brackets so that each bracket gets the same number of steps: many short ones, few long ones.

    Args:
        grace_steps: the first rung of the first bracket.
        reduction: as of :class:`AsyncHalving`.
        steps: of a whole trial.
    """

    def __init__(self, grace_steps: int, reduction: int, steps: int) -> None:
        first = AsyncHalving(grace_steps, reduction, steps)
        starts = first.rungs or [grace_steps]
        self._brackets = [AsyncHalving(start, reduction, steps) for start in starts]
        # One turn: of the first bracket as many trials as it is shorter than the last.
        self._turn = [i for i in range(len(starts)) for _ in range(reduction ** (len(starts) - 1 - i))]

    def report(self, trial: int, step: int, score: float, judged: bool = True) -> str | None:
        """Judge a trial in its bracket, which follows from its number."""
        return self._brackets[self._turn[trial % len(self._turn)]].report(trial, step, score, judged)


class MedianRule:
    """End a trial whose best score so far is below the median of the others' means up to the same step.

    D. Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017; as Ray Tune's
    MedianStoppingRule. Steps are compared where several trials validated at the same ones.

    Args:
        grace_steps: before so many steps none is ended.
        least: nor before so many others have come as far.
    """

    def __init__(self, grace_steps: int, least: int = 3) -> None:
        self._grace, self._least = grace_steps, least
        self._means: dict[int, list[float]] = {}  # by step, rising
        self._of_trial: dict[int, tuple[float, int, float, int]] = {}  # sum, count, best, last step
        self._answers: dict[int, str] = {}

    def report(self, trial: int, step: int, score: float, judged: bool = True) -> str | None:
        """Compare a trial with those that came to this step before it."""
        if trial in self._answers:
            return self._answers[trial]
        total, count, best, last = self._of_trial.get(trial, (0.0, 0, float("-inf"), -1))
        if step <= last:
            return None
        total, count, best = total + score, count + 1, max(best, score)
        self._of_trial[trial] = total, count, best, step
        others = self._means.setdefault(step, [])
        median = others[len(others) // 2] if others else float("-inf")
        enough = len(others) >= self._least and step >= self._grace
        bisect.insort(others, total / count)
        if judged and enough and best < median:
            words = f"step {step}: its best, {best:.4f}, is below the median of {len(others) - 1} others, {median:.4f}"
            self._answers[trial] = words
            return words
        return None


def scheduler_of(case: Case) -> Scheduler:
    """Return the scheduler that a case asks for; asha where it validates as it trains and names none.

    A population ends no trial: those that fall behind go on from others.
    """
    tuning, training = case.tuning, case.training
    every = training.validation.every_steps
    kind = tuning.scheduler or ("asha" if every is not None else "none")
    grace = tuning.grace_steps or max(every or 1, training.steps // 16)
    if kind == "none" or every is None or tuning.search == "pbt":
        return NoScheduler()
    if kind == "median":
        return MedianRule(grace)
    return (AsyncHalving if kind == "asha" else Hyperband)(grace, tuning.reduction, training.steps)
