"""The verdict on negative transfer that an arm's difference to single-task networks supports."""

from typing import Literal

from mtlcore.metrics.interval import Interval

Verdict = Literal["better", "worse", "no clear difference"]

ENOUGH_SEEDS = 5


def negative_transfer_verdict(difference: Interval, *, lower_is_better: bool = False) -> Verdict:
    """Say whether a task gained from being trained with others, by the interval of its difference to single-task.

    ``worse`` is negative transfer (Caruana, "Multitask Learning", 1997; Standley et al., "Which Tasks Should Be
    Learned Together in Multi-task Learning?", ICML 2020): the whole interval lies below 0. ``better``: it lies above.
    An interval that touches 0 is ``no clear difference``, which says that this test cannot tell, not that there is
    none: more test inputs or seeds may. With an interval of 95 % one verdict in twenty would be wrong where nothing
    differs, and every task and arm asks anew. With two to four seeds intervals are wide, and few verdicts are clear;
    with one nothing is known of other seeds: the verdict is then about these networks, not about the method.

    Args:
        difference: the arm minus the baseline, as :func:`mtlcore.paired_difference` gives it.
        lower_is_better: whether it is a difference of errors: below 0 is then a gain.

    Returns:
        the verdict.

    Raises:
        ValueError: the interval's ends are the wrong way round, or not numbers.

    Example:
        >>> from mtlcore import Interval, negative_transfer_verdict
        >>> negative_transfer_verdict(Interval(-0.02, low=-0.03, high=-0.01))
        'worse'
        >>> negative_transfer_verdict(Interval(0.02, low=0.0, high=0.04))
        'no clear difference'
    """
    if not difference.low <= difference.high:
        raise ValueError(f"interval: found [{difference.low}, {difference.high}]; expected low <= high")
    low, high = (-difference.high, -difference.low) if lower_is_better else (difference.low, difference.high)
    return "better" if low > 0 else "worse" if high < 0 else "no clear difference"
