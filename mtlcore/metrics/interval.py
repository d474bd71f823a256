"""A value with its confidence interval; it needs no torch, so that a report can be read without."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A value with its interval.

    Example:
        >>> Interval(0.02, low=-0.01, high=0.05).high
        0.05
    """

    value: float
    low: float
    high: float
