"""How scores and differences are written: in points (hundredths), or in the labels' unit."""

import math

from mtlcore import IN_UNITS
from pipelines.evaluate.results import Difference


def score_text(value: float, metric: str) -> str:
    """Write a score: three decimals, or four digits of an error in the labels' unit."""
    if math.isnan(value):
        return "\N{EN DASH}"
    return f"{value:.4g}" if metric in IN_UNITS else f"{value:.3f}"


def difference_text(value: float, metric: str) -> str:
    """Write a difference: in points, or in the labels' unit."""
    return f"{value:+.3g}" if metric in IN_UNITS else f"{100 * value:+.1f}"


def interval_text(difference: Difference, metric: str) -> str:
    """Write an interval: ``[LOW, HIGH]``."""
    return f"[{difference_text(difference.low, metric)}, {difference_text(difference.high, metric)}]"


def has_unit(metric: str) -> bool:
    """Say whether a metric is in the labels' unit."""
    return metric in IN_UNITS
