"""How scores are written: shares, or in the labels' unit."""

import math

from mtlcore import IN_UNITS


def score_text(value: float, metric: str) -> str:
    """Write a score: three decimals, or four digits of an error in the labels' unit."""
    if math.isnan(value):
        return "\N{EN DASH}"
    return f"{value:.4g}" if metric in IN_UNITS else f"{value:.3f}"


def has_unit(metric: str) -> bool:
    """Say whether a metric is in the labels' unit."""
    return metric in IN_UNITS
